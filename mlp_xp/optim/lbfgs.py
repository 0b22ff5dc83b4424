"""L-BFGS: steps from the curvature that the last few steps have met."""

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from math import inf
from numbers import Real
from typing import Any, ClassVar

from mlp_xp.schedules import Value

from .optimizer import POSITIVE, Array, Optimizer, Slots, Update, keep_as_whole
from .patterns import by_pattern, keep_as_multipliers


@dataclass(frozen=True)
class LBFGS(Optimizer):
    """p <- p + a d,   d = -H g,   with a from a line search that fulfils the strong Wolfe conditions.

    H is the inverse of the Hessian as the last `history` pairs s = p' - p, y = g' - g make it (Nocedal, 1980; Liu and
    Nocedal, 1989). It minimises a smooth function, always over all rows at once: the loss and
    weight_decay / 2 sum p^2, over the weights and not the biases unless `decay_multipliers` say so (see FirstOrder).
    scikit-learn's alpha is a weight_decay of alpha / rows.

    `fit` makes one iteration an epoch, and ends when no element of the gradient is above `tolerance_gradient`, when an
    iteration gains less than `tolerance_change` max(|f|, |f'|, 1), or when the line search finds nothing lower;
    `trainer.finished` then says which. A line search takes at most `max_evaluations` function values, and tries
    a = `lr` first; `c1` and `c2` are its conditions (see `line_search.strong_wolfe`).
    """

    lr: Value = 1.0
    history: int = 20
    _: KW_ONLY
    weight_decay: Value = 0.0
    decay_multipliers: Mapping[str, float] | tuple[tuple[str, float], ...] = ()
    tolerance_gradient: float = 1e-5
    tolerance_change: float = 1e-9
    max_evaluations: int = 20
    c1: float = 1e-4
    c2: float = 0.9

    full_batch: ClassVar[bool] = True
    ranges: ClassVar[dict[str, tuple[float, float]]] = {"lr": POSITIVE, "weight_decay": (0.0, inf)}

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("history", "max_evaluations"):
            keep_as_whole(self, name, 1)
        for name in ("tolerance_gradient", "tolerance_change"):
            value = getattr(self, name)
            if not isinstance(value, Real) or not 0 <= float(value) < inf:
                raise ValueError(f"LBFGS({name}={value!r}): give a number of at least 0")
        if not all(isinstance(c, Real) for c in (self.c1, self.c2)) or not 0 < self.c1 < self.c2 < 1:
            raise ValueError(f"LBFGS(c1={self.c1!r}, c2={self.c2!r}): give numbers with 0 < c1 < c2 < 1")
        keep_as_multipliers(self, "decay_multipliers")

    @property
    def slot_names(self) -> tuple[str, ...]:
        """s0 and y0 are the newest pair; pairs that have not been made yet are zero."""
        return tuple(f"{kind}{age}" for kind in "sy" for age in range(self.history))

    def coefficients(self, t: int) -> tuple[float, ...]:
        return self.learning_rate(t), self.number("weight_decay", t)

    def multipliers(self, layout: Any) -> tuple[Mapping[str, float] | None, ...]:
        decays = by_pattern("decay_multipliers", self.decay_multipliers, layout, lambda p: 1.0 if p.decays else 0.0)
        return (None if self.weight_decay == 0 or set(decays.values()) == {1.0} else decays,)

    def build(self, xp: Any, fuse: Callable[..., Any], layout: Any, skips: bool = False) -> Update:
        raise ValueError(f"{self} needs the function that it minimises, not one gradient a step: give it to a Trainer")


def with_decay(xp: Any, p: Array, value: Array, g: Array, decay: float, scale: Array | None) -> tuple[Array, Array]:
    """f = L + wd / 2 sum m p^2   and   df = dL + wd m p   from L and dL."""
    pull = decay * p if scale is None else decay * scale * p
    return value + 0.5 * xp.sum(pull * p, axis=-1), g + pull


def direction(xp: Any, g: Array, slots: Slots) -> Array:
    """d = -H g by two loops over the pairs (Nocedal and Wright, 2006, algorithm 7.4); of one model.

    H starts from s.y / y.y of the newest pair, and without one from a step of length 1, or of |g| where that is less.
    A pair that does not curve upwards, as one that is still zero, changes nothing.
    """
    history = len(slots) // 2
    pairs = list(zip(slots[:history], slots[history:], strict=True))
    sy = xp.stack([s @ y for s, y in pairs])
    curved = sy > float(xp.finfo(g.dtype).smallest_normal)
    rho = xp.where(curved, 1.0 / sy, xp.zeros_like(sy))
    shares = []
    q = g
    for i, (s, y) in enumerate(pairs):
        shares.append(rho[i] * (s @ q))
        q = q - shares[i] * y
    s, y = pairs[0]
    r = xp.where(curved[0], sy[0] / (y @ y), xp.minimum(1.0 / xp.sqrt(g @ g), 1.0)) * q
    for i, (s, y) in reversed(list(enumerate(pairs))):
        r = r + (shares[i] - rho[i] * (y @ r)) * s
    return -r


def remembered(slots: Slots, s: Array, y: Array) -> Slots:
    """The slots with a new pair in place of the oldest."""
    history = len(slots) // 2
    return s, *slots[: history - 1], y, *slots[history:-1]
