"""The page: what is said, listed and drawn, put into one HTML file that needs no network."""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from mlp_xp import __version__

from .comparison import comparison
from .curves import curves, legend
from .health import RULES
from .plot import BRIGHT, DEEP, THEMES, Plot
from .run import Run
from .sections import Sections
from .settings import settings
from .words import measured, number

HERE = Path(__file__).parent
GENERATOR = "mlp_xp report"
"""By this a report is known, which a later one may overwrite."""


def render(runs: Sequence[Run]) -> str:
    """The report as HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    several = len(runs) > 1
    looks = [Sections.at(run, which, run.name if several else "") for which, run in enumerate(runs)]
    drawn = curves(runs)
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"number": number, "measured": measured, "plotly": Markup(get_plotlyjs())}
    return environment.get_template("page.html").render(
        title=title(runs),
        generator=GENERATOR,
        version=__version__,
        looks=looks,
        several=several,
        subtitle=subtitle(runs),
        sections=sections(looks, drawn),
        table=comparison(runs, [sum(f.level == "warning" for f in look.findings) for look in looks]),
        curves=drawn,
        key=legend(runs, drawn),
        rules=RULES,
        settings=settings(runs),
        colours=list(zip(DEEP, BRIGHT, strict=True)),
        themes=Markup(json.dumps(THEMES)),
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup((HERE / "page.js").read_text(encoding="utf-8")),
    )


def sections(looks: Sequence[Sections], drawn: Sequence[Plot]) -> dict[str, str]:
    """The parts of the page that there is something for, by their anchors."""
    decided = sorted({look.confusion.part for look in looks if look.confusion})
    parts: list[tuple[str, str, Any]] = [
        ("summary", "Summary", True),
        ("comparison", "Comparison", len(looks) > 1),
        ("curves", "Learning curves", drawn),
        ("decisions", f"Decisions on the {' and '.join(decided)} data", decided),
        ("boundary", "Decision boundary", any(look.plane for look in looks)),
        ("layers", "Health of the layers", any(look.layers for look in looks)),
        ("settings", "Configuration, environment and data", any(look.run.about for look in looks)),
        ("epochs", "Numbers of the epochs", any(look.epochs[1] for look in looks)),
        ("missing", "What is missing", any(look.missing for look in looks)),
    ]
    return {anchor: head for anchor, head, there in parts if there}


def title(runs: Sequence[Run]) -> str:
    titles = list(dict.fromkeys(run.title for run in runs))
    if len(runs) == 1:
        return titles[0] or runs[0].name
    return f"{titles[0]}: {len(runs)} runs compared" if len(titles) == 1 and titles[0] else f"{len(runs)} runs compared"


def subtitle(runs: Sequence[Run]) -> str:
    """Where and when the runs were made, as far as that is the same of all."""
    parts = [", ".join(run.name for run in runs)]
    for value in (lambda run: day(run.date), device):
        found = {value(run) for run in runs}
        parts += [found.pop()] if len(found) == 1 else []
    return " · ".join(part for part in parts if part)


def day(date: str) -> str:
    try:
        return f"{datetime.fromisoformat(date):%Y-%m-%d %H:%M %Z}".strip()
    except ValueError:
        return date


def device(run: Run) -> str:
    environment = run.about.get("environment", {})
    word, name = (str(environment.get(key) or "") for key in ("backend", "device"))
    return f"{word} ({name})" if word and name else word
