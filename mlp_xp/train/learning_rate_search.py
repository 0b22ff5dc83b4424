"""Which learning rate? Try ever larger ones, a step each, and look where the loss falls fastest."""

from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from math import inf, isfinite
from typing import Any

from mlp_xp.optim import Exponential

from . import inputs
from .checkpoint import PARTS, contents, rebuild
from .plan import Plan
from .step import Data
from .trainer import Trainer


@dataclass(frozen=True)
class LearningRateSearch:
    """What `find_learning_rate` saw: the rate of each step, the loss of its batch, and that loss smoothed."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]

    @property
    def suggestion(self) -> float:
        """The rate at which the smoothed loss falls fastest over the logarithm of the rate, before its minimum.

        The slope is that of the line through the tenth of all points on either side; the first tenth is left out.
        """
        tenth = len(self.rates) // 10
        half = max(tenth, 1)
        lowest = min(range(len(self.smoothed)), key=self.smoothed.__getitem__)
        centres = range(half + tenth, min(lowest + 1, len(self.rates) - half))
        slopes = {i: sum(k * self.smoothed[i + k] for k in range(-half, half + 1)) for i in centres}
        return self.rates[min(slopes, key=slopes.__getitem__)] if slopes else self.rates[lowest] / 10


def find_learning_rate(
    trainer: Trainer,
    X: Any,
    y: Any = None,
    *,
    lowest: float = 1e-6,
    highest: float = 10.0,
    steps: int = 100,
    batch_size: int | str | None = "auto",
    sample_weight: Any = None,
    smoothing: float = 0.9,
    progress: bool = True,
) -> LearningRateSearch:
    """Train a copy of `trainer` with a learning rate that grows from `lowest` to `highest` over `steps` steps.

    The trainer itself stays as it is. The loss of each batch is smoothed by a moving average, corrected for its start;
    the search ends early when that exceeds 4 times its minimum (Smith, "Cyclical Learning Rates", 2017, section 3.3).
    Read `suggestion` off the result, or look at `viz.learning_rates`.
    """
    from tqdm import tqdm

    if not 0 < lowest < highest < inf:
        raise ValueError(f"find_learning_rate(lowest={lowest}, highest={highest}): needs 0 < lowest < highest")
    if not 0 <= smoothing < 1:
        raise ValueError(f"find_learning_rate(smoothing={smoothing}): must be in [0, 1)")
    inputs.trainable(trainer.model)
    if not all(isinstance(number, int | float) for number in (lowest, highest, smoothing)):
        raise TypeError("find_learning_rate: lowest, highest and smoothing are numbers")
    if trainer.optimizer.full_batch:
        raise ValueError(f"{trainer.optimizer} finds the length of its steps itself")
    steps = inputs.whole("steps", steps, at_least=3)
    rate = Exponential(lowest, (highest / lowest) ** (1 / (steps - 1)))
    copy = _copy(trainer, rate)
    rates: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    average = 0.0
    with copy.backend.scope(), ExitStack() as ending:
        data = copy._labelled(X, y, sample_weight)
        if not copy.adapted:
            copy._adapt(data.x)
        plan = Plan(copy, data, inputs.batch_rows(batch_size, data.x, copy.model), shuffle=True)
        ending.callback(plan.close)
        bar = tqdm(range(steps), "learning rates", unit="step", disable=None if progress else True, delay=1)
        for step, batch in zip(bar, _batches(plan), strict=False):
            copy.state = copy.state._replace(totals=copy._zero())
            plan.advance(*batch)
            if copy._number(copy.state.totals.weight) == 0:
                continue  # no row of this batch counts
            loss = copy._means(copy.state.totals)["loss"]
            if not isfinite(loss):
                break
            average = smoothing * average + (1 - smoothing) * loss
            rates.append(rate(step))
            losses.append(loss)
            smoothed.append(average / (1 - smoothing ** len(rates)))
            if len(rates) > 10 and smoothed[-1] > 4 * min(smoothed):
                break
    if len(rates) < 3:
        raise ValueError(f"the loss is not finite at a learning rate of {rate(step):g}: give a smaller `lowest`")
    return LearningRateSearch(tuple(rates), tuple(losses), tuple(smoothed))


def _batches(plan: Plan) -> Generator[tuple[Data, int, int]]:
    """What the steps take, epoch after epoch."""
    for epoch in count():
        yield from plan.batches(epoch)


def _copy(trainer: Trainer, rate: Exponential) -> Trainer:
    """A trainer with the same weights that starts anew with another learning rate."""
    parts = {part: getattr(trainer, part) for part in PARTS}
    parts["optimizer"] = trainer.optimizer.with_learning_rate(rate)
    tensors, numbers = contents(trainer)
    weights = {name: tensor for name, tensor in tensors.items() if "/" not in name}  # no slots: they start anew
    return rebuild(parts, trainer.backend, weights, numbers | {"step": 0, "began": 0, "epoch": 0, "history": []})
