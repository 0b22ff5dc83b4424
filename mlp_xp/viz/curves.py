"""Loss and metrics over the epochs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mlp_xp.train import History
from mlp_xp.train.history import numbers

from .style import COLOURS, new_figure, save

SMOOTH, SMOOTHER = "-", "--"


def learning_curves(
    runs: History | Mapping[str, History], path: str | Path, metrics: Sequence[str] = ("loss", "accuracy")
) -> None:
    """Draw a panel for each metric into the picture file `path`: training solid, validation dashed.

    `runs` is one history, or several by name to compare. What is not a number, such as a confusion matrix, is left out.
    """
    named = {"": runs} if isinstance(runs, History) else dict(runs)
    drawable = {name: {column for record in history for column in numbers(record)} for name, history in named.items()}
    present = [m for m in metrics if any({m, f"val_{m}"} & columns for columns in drawable.values())]
    if not present:
        raise ValueError(f"none of {', '.join(metrics)} was recorded as a number")
    figure, panels = new_figure(len(present))
    for metric, axes in zip(present, panels, strict=True):
        for number, (name, history) in enumerate(named.items()):
            shown = ((metric, SMOOTH, "training"), (f"val_{metric}", SMOOTHER, "validation"))
            for shade, (column, line, kind) in enumerate(shown):
                if column in drawable[name]:
                    colour = COLOURS[(number if len(named) > 1 else shade) % len(COLOURS)]
                    label = f"{name}, {kind}" if name else kind
                    # A single epoch is a point, which a line would not show.
                    marker = "o" if len(history) == 1 else None
                    axes.plot(history["epoch"], history[column], line, color=colour, label=label, marker=marker)
        drawn = [value for line in axes.get_lines() for value in line.get_ydata()]
        if metric == "loss" and min(drawn) > 0 and max(drawn) > 20 * min(drawn):
            axes.set_yscale("log")
        axes.set_xlabel("epoch")
        axes.set_ylabel(metric)
        axes.grid(alpha=0.3)
        axes.legend()
    save(figure, path)
