"""What an optimizer is: an elementwise rule on one vector, and the numbers that the rule needs at each step."""

from collections.abc import Callable
from math import inf
from numbers import Real
from typing import Any

from mlp_xp.schedules import Schedule

Array = Any
Rule = Callable[..., tuple[Array, tuple[Array, ...]]]


class Optimizer:
    """A frozen dataclass of hyper-parameters.

    `rule(xp, p, g, slots, coefficients) -> (p, slots)` is pure and elementwise: p are the parameters, g the gradient,
    slots arrays like p that start at zero. The coefficients are worked out on the host, in double precision, and
    reach the rule as numbers: so a bias correction is exact in float32, and a new learning rate compiles nothing.
    """

    lr: float | Schedule

    @property
    def slot_names(self) -> tuple[str, ...]:
        """The names of the arrays that the rule keeps between steps."""
        raise NotImplementedError

    @property
    def rule(self) -> Rule:
        raise NotImplementedError

    def coefficients(self, t: int) -> tuple[float, ...]:
        """The rule's numbers for update number t + 1, where t updates have been made."""
        raise NotImplementedError

    def __post_init__(self) -> None:
        if not isinstance(self.lr, Schedule) and not (isinstance(self.lr, Real) and 0 <= self.lr < inf):
            raise ValueError(
                f"{type(self).__name__}(lr={self.lr!r}): give a learning rate of at least 0, or a schedule such as "
                f"optim.StepDecay"
            )

    def learning_rate(self, t: int) -> float:
        return self.lr(t) if isinstance(self.lr, Schedule) else self.lr
