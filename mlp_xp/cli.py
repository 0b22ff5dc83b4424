"""The command `mlp-xp`, also reached as `python -m mlp_xp`. Nothing is imported before it is needed."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlp_xp import __version__

if TYPE_CHECKING:
    from mlp_xp.backends import Status

HEADER = ("backend", "usable", "computes on, or why not", "selected by")
EXAMPLE = """\
example:
  mlp-xp backends        which array libraries and devices can be used here, and what helps where one cannot
  mlp-xp report runs/a   one HTML file that shows a run, or compares several
"""
REPORT = """\
Write one HTML file, which needs no network, that shows a run: how it went, what it decides, and what
goes on in its layers; of several runs a comparison. What is damaged or missing in a folder is said
there, and the rest is shown."""
REPORT_EXAMPLE = """\
example:
  mlp-xp report runs/spiral                                 writes runs/spiral/report.html
  mlp-xp report runs/slow runs/fast --out comparison.html   compares two runs
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line, by default the process's own; gives the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help(sys.stderr)
        return 2
    return arguments.run(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mlp-xp",
        description="Multi-layer perceptrons on NumPy, CuPy, PyTorch and JAX arrays.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    command = commands.add_parser(
        "backends",
        help="list the backends: usable here or not, and why not",
        description="List every backend: usable here or not and why not, and the words that select it. "
        "Imports each array library that is installed, which takes seconds.",
    )
    command.set_defaults(run=_backends)
    command = commands.add_parser(
        "report",
        help="write one HTML file that shows a run, or compares several",
        description=REPORT,
        epilog=REPORT_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("runs", nargs="+", metavar="RUN_DIR", help="a folder from train.save_run or a script's --out")
    command.add_argument(
        "--out",
        metavar="FILE",
        help="the file to write; an earlier report is overwritten, other files are not (default: report.html in the "
        "run folder, or in the current folder where there are several)",
    )
    command.set_defaults(run=_report)
    return parser


def _report(arguments: argparse.Namespace) -> int:
    """Write a report and print its path; exit code 1 where there is none to write."""
    try:
        from mlp_xp.viz.report import write_report

        path = write_report(arguments.runs, arguments.out)
        print(os.fsencode(path).decode(errors="replace"))  # a name of a folder may be no UTF-8
    except (ImportError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _backends(_: argparse.Namespace) -> int:
    """Print every backend, and the one that "auto" takes; exit code 1 where "auto" takes none."""
    from mlp_xp import backends

    print("\n".join(_table(backends.available())))
    try:
        chosen = backends.select("auto").word
    except backends.BackendError as error:
        print(f'\n"auto" takes none here: {error}')
        return 1
    why = f", as the environment variable {backends.VARIABLE} says" if os.environ.get(backends.VARIABLE) else ""
    print(f'\n"auto" takes {chosen} here{why}.')
    return 0


def _table(statuses: Sequence["Status"]) -> list[str]:
    """Lines of a table with aligned columns. Under a backend that is not usable stands what helps."""
    rows = [HEADER]
    for status in statuses:
        detail = " ".join(status.detail.split())  # what an import error says may run over several lines
        rows.append((status.name, "yes" if status.usable else "no", detail, ", ".join(status.devices)))
    # A reason may be long, and no word follows it: it does not push the last column away.
    widths = [max(len(row[column]) for row in rows if row[3] or column < 2) for column in range(3)]
    indent = " " * (widths[0] + widths[1] + 4)
    lines = []
    for row, remedy in zip(rows, ["", *(status.remedy for status in statuses)], strict=True):
        cells = [cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)]
        lines.append("  ".join([*cells, row[3]]).rstrip())
        if remedy:
            lines.append(f"{indent}remedy: {' '.join(remedy.split())}")
    return lines
