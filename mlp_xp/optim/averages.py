"""Optimizers around an optimizer, that average its weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from mlp_xp.schedules import Value

from .optimizer import Array, Optimizer, Slots, Update, keep_as_whole


class Wrapper(Optimizer):
    """Keeps one more slot than the optimizer inside: last among the slots; its numbers are the first."""

    optimizer: Optimizer
    slot: ClassVar[str]
    ranges: ClassVar[dict[str, tuple[float, float]]] = {}

    def __post_init__(self) -> None:
        if not isinstance(self.optimizer, Optimizer):
            raise TypeError(
                f"{type(self).__name__} goes around an optimizer, such as optim.Adam(); got {self.optimizer!r}"
            )
        if self.optimizer.full_batch:
            raise ValueError(
                f"{type(self).__name__} averages the noise of small batches out; "
                f"{self.optimizer!r} has none, use it alone"
            )
        if self.slot in self.optimizer.slot_names:  # they are kept in files by their names
            raise ValueError(f"{type(self).__name__} goes around no other that keeps {self.slot!r}: {self.optimizer!r}")
        super().__post_init__()

    @property
    def lr(self) -> Value:  # type: ignore[override]
        return self.optimizer.lr

    @property
    def slot_names(self) -> tuple[str, ...]:
        return *self.optimizer.slot_names, self.slot

    def start(self, xp: Any, p: Array) -> Slots:
        return *self.optimizer.start(xp, p), xp.asarray(p, copy=True)

    def multipliers(self, layout: Any) -> tuple[Mapping[str, float] | None, ...]:
        return self.optimizer.multipliers(layout)

    def learning_rate(self, t: int) -> float:
        return self.optimizer.learning_rate(t)

    def with_learning_rate(self, lr: Value) -> Optimizer:
        return replace(self, optimizer=self.optimizer.with_learning_rate(lr))  # type: ignore[type-var]

    def constraint(self, xp: Any, layout: Any) -> Callable[[Array], Array]:
        return self.optimizer.constraint(xp, layout)

    def averaged(self, p: Array, slots: Slots) -> Array:
        return slots[-1]


class Average(Wrapper):
    """a <- a + share (p - a) after every step of the optimizer inside, which does not notice.

    An average of weights that meet MaxNorm or NonNegative meets it too; one of weights of UnitNorm is shorter than 1.
    """

    def share(self, t: int) -> float:
        raise NotImplementedError

    def coefficients(self, t: int) -> tuple[float, ...]:
        return self.share(t), *self.optimizer.coefficients(t)

    def build(self, xp: Any, fuse: Callable[..., Any], layout: Any, skips: bool = False) -> Update:
        return averaging(self.optimizer.build(xp, fuse, layout, skips), fuse(move_towards))


def averaging(update: Update, move: Update) -> Update:
    """An update, and then one of the average of the weights: the last slot; its share is the first coefficient."""

    def both(p: Array, g: Array, slots: Slots, coefficients: Any, vectors: Any) -> Any:
        p, kept = update(p, g, slots[:-1], coefficients[1:], vectors)
        average, _ = move(slots[-1], p, (), coefficients[:1], ())
        return p, (*kept, average)

    return both


def move_towards(xp: Any, a: Array, p: Array, slots: Slots, coefficients: Any, vectors: Any) -> tuple[Array, Slots]:
    share = coefficients[0]
    return (1.0 - share) * a + share * p, ()


@dataclass(frozen=True)
class EMA(Average):
    """An exponential moving average of the weights:   a <- decay a + (1 - decay) p,   a = p after the first step.

    Polyak and Juditsky (1992) showed why averages are good; this form as torch.optim.swa_utils has it.
    evaluate and predict use the average; of weights of UnitNorm it is shorter than 1.
    """

    optimizer: Optimizer
    decay: Value = 0.999
    slot: ClassVar[str] = "ema"
    ranges: ClassVar[dict[str, tuple[float, float]]] = {"decay": (0.0, 1.0)}

    def share(self, t: int) -> float:
        return 1.0 if t == 0 else 1.0 - self.number("decay", t)


@dataclass(frozen=True)
class SWA(Average):
    """The mean of the weights after every `every`-th step (Izmailov et al., 2018), from update start_step + 1 on.

    evaluate and predict use the mean; until then, the weights. With BatchNorm, see `Trainer.refresh_statistics`. The
    mean of weights of UnitNorm is shorter than 1.
    """

    optimizer: Optimizer
    start_step: int = 0
    every: int = 1
    slot: ClassVar[str] = "swa"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("start_step", 0), ("every", 1)):
            keep_as_whole(self, name, least)

    def share(self, t: int) -> float:
        seen, rest = divmod(t - self.start_step, self.every)
        if seen < 0:
            return 1.0
        return 0.0 if rest else 1.0 / (seen + 1)


@dataclass(frozen=True)
class Lookahead(Wrapper):
    """k steps forward, one step back (Zhang et al., 2019): after every k-th step of the optimizer inside

    slow <- slow + alpha (p - slow),   p <- slow.   evaluate and predict use the slow weights.

    The slow weights are put back into the constraints of the optimizer inside, UnitNorm too, as p is.
    """

    optimizer: Optimizer
    k: int = 5
    alpha: Value = 0.5
    slot: ClassVar[str] = "slow"
    ranges: ClassVar[dict[str, tuple[float, float]]] = {"alpha": (0.0, 1.0)}

    def __post_init__(self) -> None:
        super().__post_init__()
        keep_as_whole(self, "k", 1)

    def coefficients(self, t: int) -> tuple[float, ...]:
        back = 1.0 if (t + 1) % self.k == 0 else 0.0
        return back, back * self.number("alpha", t), *self.optimizer.coefficients(t)

    def build(self, xp: Any, fuse: Callable[..., Any], layout: Any, skips: bool = False) -> Update:
        inner, move = self.optimizer.build(xp, fuse, layout, skips), fuse(move_towards)
        constraint = self.constraint(xp, layout)

        def update(p: Array, g: Array, slots: Slots, coefficients: Any, vectors: Any) -> Any:
            back, share, *rest = coefficients
            p, kept = inner(p, g, slots[:-1], tuple(rest), vectors)
            slow, _ = move(slots[-1], p, (), (share,), ())
            slow = constraint(slow)  # in every step: the weights that it starts from need not meet them
            p, _ = move(p, slow, (), (back,), ())
            return p, (*kept, slow)

        return update
