"""The loss over a growing learning rate."""

from pathlib import Path

from mlp_xp.train import LearningRateSearch

from .style import COLOURS, new_figure, save


def learning_rates(search: LearningRateSearch, path: str | Path) -> None:
    """Draw what `train.find_learning_rate` saw into the picture file `path`, with its suggestion marked."""
    figure, (axes,) = new_figure()
    axes.plot(search.rates, search.losses, ".", color=COLOURS[5], markersize=4, label="batch by batch")
    axes.plot(search.rates, search.smoothed, color=COLOURS[0], label="smoothed")
    axes.axvline(search.suggestion, color=COLOURS[1], linestyle="--", label=f"suggestion {search.suggestion:.2g}")
    axes.set_xscale("log")
    # What lies far above the start is divergence, and would press the rest flat.
    low, high = min(search.losses), max(search.losses[0], *search.smoothed[: len(search.rates) // 2])
    margin = 0.05 * (high - low) or 0.05
    axes.set_ylim(low - margin, high + margin)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    axes.legend()
    save(figure, path)
