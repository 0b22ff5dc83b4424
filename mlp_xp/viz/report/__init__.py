"""One HTML file that shows runs: what was trained, how it went, and what came out. Needs plotly and jinja2 (extra
`report`)."""

import os
from collections.abc import Sequence
from pathlib import Path

from .page import GENERATOR, render
from .run import Run, read, read_all

__all__ = ["Run", "read", "read_all", "require_report", "write_report"]

NAME = "report.html"
REMEDY = "pip install 'mlp-xp[report]'"


def write_report(folders: str | Path | Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Write a report of a run folder, or of several that are compared, into the file `out`; gives its path.

    out None is report.html in the run folder, or in the current folder where there are several. An earlier report is
    overwritten, another file is not. What is damaged or missing in a folder the report says, and shows the rest.
    FileExistsError, OSError for an `out` that cannot be written; ValueError for a folder that is no run; ImportError
    where plotly or jinja2 is missing.
    """
    require_report()
    runs = read_all([folders] if isinstance(folders, str | Path) else folders)
    if not runs:
        raise ValueError("give at least one run folder")
    out = Path(out) if out is not None else Path(NAME) if len(runs) > 1 else runs[0].folder / NAME
    check(out)
    text = render(runs)
    unfinished = out.with_name(f"{out.name}.{os.getpid()}.tmp")
    try:
        unfinished.write_text(text, encoding="utf-8", errors="replace")  # a name of a folder may be no UTF-8
        unfinished.replace(out)
    except OSError as error:
        raise OSError(f"cannot write {out}: {error.strerror}; choose another --out") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return out


def require_report() -> None:
    """ImportError that names the remedy where plotly or jinja2 is missing."""
    try:
        import jinja2  # noqa: F401
        import plotly.offline  # noqa: F401
    except ImportError as error:
        raise ImportError(f"a report needs plotly and jinja2 ({error}); {REMEDY}") from None


def check(out: Path) -> None:
    """OSError that says why where a report cannot be written to a path."""
    if out.is_dir():
        raise IsADirectoryError(f"{out} is a folder; give --out a file, such as {out / NAME}")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"cannot write {out}: there is no folder {out.parent}")
    if out.exists():
        with out.open("rb") as file:
            ours = f'content="{GENERATOR}'.encode() in file.read(1000)
        if not ours:
            raise FileExistsError(f"{out} is there and is no report of mlp_xp; choose another --out, or remove it")
