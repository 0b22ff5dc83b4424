"""What an optimizer is to the trainer: slots, numbers for each step, and an update of one vector."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from math import inf
from numbers import Integral, Real
from typing import Any, ClassVar

from mlp_xp.schedules import Scaled, Schedule, Value, at

from .clipping import clip_by_norm
from .constraints import Constraint, constrained
from .patterns import by_pattern, each_parameter, keep_as_multipliers, keep_as_pairs

Array = Any
Slots = tuple[Array, ...]
Update = Callable[[Array, Array, Slots, tuple[float, ...], tuple[Any, ...]], tuple[Array, Slots]]
"""(p, g, slots, coefficients, vectors) -> (p, slots)"""

POSITIVE = (1e-30, inf)
"""The range of what is added to a divisor: above zero in float32 too, as the gaps of the layout must not be 0 / 0."""


class Optimizer:
    """A frozen dataclass of hyper-parameters; each may be a schedule (`mlp_xp.optim.Schedule`) where it says Value.

    p are the parameters in one vector, g the gradient, slots arrays like p that are kept between steps. The
    coefficients are worked out on the host, in double precision, and reach the update as numbers: so a bias correction
    is exact in float32, and a new learning rate compiles nothing.
    """

    lr: Value
    ranges: ClassVar[dict[str, tuple[float, float]]] = {"lr": (0.0, inf)}
    """The smallest value of each number among the hyper-parameters, and what it must stay below."""
    full_batch: ClassVar[bool] = False
    """Does it evaluate the function over all rows, several times a step, rather than take a gradient as it comes?"""

    @property
    def slot_names(self) -> tuple[str, ...]:
        """The names of the slots."""
        raise NotImplementedError

    def start(self, xp: Any, p: Array) -> Slots:
        """The slots before the first step."""
        return tuple(xp.zeros_like(p) for _ in self.slot_names)

    def coefficients(self, t: int) -> tuple[float, ...]:
        """The numbers for update number t + 1, where t updates have been made."""
        raise NotImplementedError

    def multipliers(self, layout: Any) -> tuple[Mapping[str, float] | None, ...]:
        """Numbers by parameter, for each of the vectors that the update takes; None where all are 1."""
        return ()

    def build(self, xp: Any, fuse: Callable[..., Any], layout: Any, skips: bool = False) -> Update:
        """The update of one step, a pure function; if it `skips`, a gradient of NaN leaves parameters and slots alone.

        An average of weights takes a skipped step for one that has not moved them.
        """
        raise NotImplementedError

    def constraint(self, xp: Any, layout: Any) -> Callable[[Array], Array]:
        """The map of the parameters to those that meet all constraints."""
        return lambda p: p

    def averaged(self, p: Array, slots: Slots) -> Array:
        """The weights to use when training is done, or looked at: p itself, or an average of it."""
        return p

    def learning_rate(self, t: int) -> float:
        return self.number("lr", t)

    def with_learning_rate(self, lr: Value) -> "Optimizer":
        """The same optimizer with another learning rate; its slots stay valid."""
        return replace(self, lr=lr)  # type: ignore[type-var]

    def scaled(self, factor: float) -> "Optimizer":
        """The same optimizer with `factor` times the learning rate, now and later in its schedule."""
        return self.with_learning_rate(Scaled(self.lr, factor))

    def number(self, name: str, t: int) -> float:
        """A hyper-parameter at step t."""
        value = getattr(self, name)
        if type(value) is float:
            return value  # as nearly always, in every step
        if not isinstance(value, Schedule):
            return float(value)
        number = at(value, t)
        self._check(name, number, f" at step {t}")
        return float(number)

    def __post_init__(self) -> None:
        for name in self.ranges:
            if not isinstance(getattr(self, name), Schedule):
                self._check(name, getattr(self, name))

    def _check(self, name: str, value: Any, when: str = "") -> None:
        low, high = self.ranges[name]
        if not isinstance(value, Real) or isinstance(value, bool) or not low <= float(value) < high:
            wanted = f"a number of at least {low:g} and below {high:g}"
            if high == inf:
                wanted = f"a finite number of at least {low:g}"
            raise ValueError(f"{type(self).__name__}({name}={value!r}){when}: give {wanted}, or a schedule")


def keep_as_whole(optimizer: Optimizer, name: str, least: int) -> None:
    """Turn a whole number among the hyper-parameters, of NumPy too, into Python's."""
    value: Any = getattr(optimizer, name)
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{type(optimizer).__name__}({name}={value!r}): give a whole number of at least {least}")
    object.__setattr__(optimizer, name, int(value))


@dataclass(frozen=True, kw_only=True, repr=False)
class FirstOrder(Optimizer):
    """An optimizer that is a rule on one array, and what every rule can be combined with.

    In this order: `clip_norm` scales the whole gradient to a norm of at most that; `clip_value` limits each element;
    `maximize` turns the sign; `weight_decay` adds wd p to the gradient (coupled, as L2 in the loss would) or, where
    `decoupled`, takes lr wd p off the parameters (Loshchilov and Hutter, 2019); `l1` adds l1 sign(p) to the gradient.

    Names are patterns such as "0.*" or "*.weight": `lr_multipliers` scale the steps of some parameters (0 freezes
    them), `decay_multipliers` the decay of some (both kinds; by custom biases and scales of normalised values have
    none: {"*": 1.0} decays all), `constraints` are met after every step, for example {"*.weight": MaxNorm(3.0)}. Where
    several patterns match, the last one counts.
    """

    weight_decay: Value = 0.0
    decoupled: bool = False
    l1: Value = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None
    maximize: bool = False
    lr_multipliers: Mapping[str, float] | tuple[tuple[str, float], ...] = ()
    decay_multipliers: Mapping[str, float] | tuple[tuple[str, float], ...] = ()
    constraints: Mapping[str, Constraint] | tuple[tuple[str, Constraint], ...] = ()

    ranges: ClassVar[dict[str, tuple[float, float]]] = {"lr": (0.0, inf), "weight_decay": (0.0, inf), "l1": (0.0, inf)}
    per_parameter: ClassVar[bool] = False
    """Is the rule made for one parameter at a time, because it takes a norm of it? Else it is elementwise."""
    decay_in_rule: ClassVar[bool] = False
    """Does the rule apply the weight decay itself? It then comes first among its numbers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        kind = type(self).__name__
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(field.default, bool) and not isinstance(value, bool):
                raise TypeError(f"{kind}({field.name}={value!r}): write True or False")
        if self.decoupled and self.decay_in_rule:
            raise ValueError(f"{kind}(decoupled=True): its rule decays the weights in a way of its own; leave that out")
        for name in ("clip_norm", "clip_value"):
            limit = getattr(self, name)
            if limit is None:
                continue
            if not isinstance(limit, Real) or isinstance(limit, bool) or not 0 < float(limit) < inf:
                raise ValueError(f"{kind}({name}={limit!r}): give a finite number above 0, or None")
        for name in ("lr_multipliers", "decay_multipliers"):
            keep_as_multipliers(self, name)
        for pattern, value in keep_as_pairs(self, "constraints", "'*.weight': optim.MaxNorm(3.0)"):
            if not isinstance(value, Constraint):
                raise TypeError(f"{kind}: constraints[{pattern!r}] is {value!r}; give one such as optim.MaxNorm(3.0)")

    def __repr__(self) -> str:
        options = {field.name: field.default for field in fields(FirstOrder)}
        shown = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in sorted(fields(self), key=lambda field: field.name in options)  # its own first
            if field.name not in options or getattr(self, field.name) != field.default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    @property
    def rule(self) -> Callable[..., tuple[Array, Slots]]:
        """`rule(xp, p, g, slots, numbers) -> (p, slots)`: pure, and zero where p and g are zero."""
        raise NotImplementedError

    def numbers(self, t: int) -> tuple[float, ...]:
        """What the rule needs at step t."""
        raise NotImplementedError

    def coefficients(self, t: int) -> tuple[float, ...]:
        if self.weight_decay == 0 and self.l1 == 0:
            return 0.0, 0.0, *self.numbers(t)
        decay = self.number("weight_decay", t) * (self.learning_rate(t) if self.decoupled else 1.0)
        return decay, self.number("l1", t), *self.numbers(t)

    def multipliers(self, layout: Any) -> tuple[Mapping[str, float] | None, ...]:
        rates = by_pattern("lr_multipliers", self.lr_multipliers, layout, lambda parameter: 1.0)
        decays = by_pattern("decay_multipliers", self.decay_multipliers, layout, lambda p: 1.0 if p.decays else 0.0)
        decaying = self.weight_decay != 0 or self.l1 != 0
        return tuple(
            values if wanted and set(values.values()) != {1.0} else None
            for values, wanted in ((rates, True), (decays, decaying))
        )

    def build(self, xp: Any, fuse: Callable[..., Any], layout: Any, skips: bool = False) -> Update:
        whole = skipping(self._whole_rule()) if skips else self._whole_rule()
        update = each_parameter(xp, layout, whole) if self.per_parameter else fuse(whole)
        constraint = self.constraint(xp, layout)
        if self.clip_norm is None and not self.constraints:
            return update
        limit = None if self.clip_norm is None else float(self.clip_norm)

        def clipped_and_constrained(p: Array, g: Array, slots: Slots, coefficients: Any, vectors: Any) -> Any:
            g = g if limit is None else clip_by_norm(xp, g, limit)
            p, slots = update(p, g, slots, coefficients, vectors)
            return constraint(p), slots

        return clipped_and_constrained

    def constraint(self, xp: Any, layout: Any) -> Callable[[Array], Array]:
        constraints = by_pattern("constraints", self.constraints, layout, lambda parameter: None)
        return lambda p: constrained(xp, p, layout, constraints)

    def _whole_rule(self) -> Callable[..., tuple[Array, Slots]]:
        """The rule with the options around it."""
        rule, maximize, decay_in_rule, decoupled = self.rule, self.maximize, self.decay_in_rule, self.decoupled
        decays, sparse = self.weight_decay != 0, self.l1 != 0
        limit = None if self.clip_value is None else float(self.clip_value)

        def whole(xp: Any, p: Array, g: Array, slots: Slots, coefficients: Any, vectors: tuple[Any, Any]) -> Any:
            decay, l1, *numbers = coefficients
            rate_scale, decay_scale = vectors
            before = p
            if limit is not None:
                g = xp.minimum(xp.maximum(g, -limit), limit)
            if maximize:
                g = -g
            if decay_scale is not None:
                decay, l1 = decay * decay_scale, l1 * decay_scale
            if sparse:
                g = g + l1 * sign(xp, p)
            if decay_in_rule:
                numbers = [decay, *numbers]
            elif decays and decoupled:
                p = p - decay * p
            elif decays:
                g = g + decay * p
            p, slots = rule(xp, p, g, slots, numbers)
            if rate_scale is not None:
                p = before + rate_scale * (p - before)
            return p, slots

        return whole


def skipping(rule: Callable[..., tuple[Array, Slots]]) -> Callable[..., tuple[Array, Slots]]:
    """The rule, but p and slots stay as they are where g is NaN: elementwise as it is, so one kernel may do it all."""

    def skips(xp: Any, p: Array, g: Array, slots: Slots, coefficients: Any, vectors: Any) -> tuple[Array, Slots]:
        new, kept = rule(xp, p, g, slots, coefficients, vectors)
        stays = xp.isnan(g)
        return xp.where(stays, p, new), tuple(xp.where(stays, *pair) for pair in zip(slots, kept, strict=True))

    return skips


def sign(xp: Any, x: Array) -> Array:
    """-1, 0 or 1, and NaN where x is; the standard's own makes CuPy wait for the device."""
    s = xp.astype(x > 0, x.dtype) - xp.astype(x < 0, x.dtype)
    return xp.where(xp.isnan(x), x, s)  # a comparison hides NaN
