"""What to say to someone who wrote a name that does not exist."""

from collections.abc import Iterable
from difflib import get_close_matches


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """Text for an error: the nearest known name, and all of them where they are few."""
    names = list(known)
    folded = {each.lower(): each for each in names}
    near = get_close_matches(str(name).lower(), folded, n=1, cutoff=0.5)
    hint = f"; did you mean {folded[near[0]]!r}?" if near else ""
    listed = f" (there are: {', '.join(names) or 'none'})" if len(names) <= 20 else ""
    return f"unknown {kind} {name!r}{hint}{listed}"
