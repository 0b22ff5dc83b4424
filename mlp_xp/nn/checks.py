"""What is asked of hyper-parameters. An error names the class, the parameter, its value and what would do."""

from collections.abc import Callable
from math import inf
from numbers import Integral, Real
from typing import Any, NamedTuple

from mlp_xp.schedules import Schedule

from .initializers import Initializer


class Range(NamedTuple):
    """The numbers that a hyper-parameter may be."""

    holds: Callable[[float], bool]
    says: str
    """What an error says, such as "must be in [0, 1)"."""
    also: type | None = None
    """What else is taken in place of a number: Schedule, or NoneType."""


POSITIVE = Range(lambda value: 0 < value < inf, "must be a finite number above 0")
NOT_NEGATIVE = Range(lambda value: 0 <= value < inf, "must be at least 0, and finite")
FINITE = Range(lambda value: abs(value) < inf, "must be a finite number")
ANY = Range(lambda value: True, "must be a number", also=Schedule)


def check_numbers(thing: Any) -> None:
    """ValueError unless each hyper-parameter that `thing.ranges` names is in its range."""
    for name, allowed in thing.ranges.items():
        value = getattr(thing, name)
        if allowed.also is None or not isinstance(value, allowed.also):
            check_number(thing, name, value)
        elif isinstance(value, Schedule):
            check_schedule(thing, name, value)


def check_number(thing: Any, name: str, value: Any, when: str = "") -> None:
    """ValueError unless `value`, for the hyper-parameter `name`, is in its range; `when` says at which step."""
    allowed = getattr(thing, "ranges", {}).get(name, ANY)
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not allowed.holds(float(value)):
        remedy = "" if is_number else "; give a number" + (" or a schedule" if allowed.also is Schedule else "")
        raise ValueError(f"{type(thing).__name__}({name}={value!r}){when}: {allowed.says}{remedy}")


def check_schedule(thing: Any, name: str, schedule: Schedule) -> None:
    """TypeError unless the schedule can be looked up, among the numbers that those of a net stand for."""
    try:
        hash(schedule)
    except TypeError:
        raise TypeError(
            f"{type(thing).__name__}({name}={schedule!r}): a schedule, and what is in it, must be immutable; write "
            f"@dataclass(frozen=True) above its class"
        ) from None


def is_whole(value: Any, at_least: int = 1) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= at_least


def check_initializer(thing: Any, name: str, fitted: bool = False) -> None:
    """Error unless an Initializer is given; one that depends on data is taken where the parameter is `fitted` to it."""
    value = getattr(thing, name)
    given = f"{type(thing).__name__}({name}={value!r})"
    if not isinstance(value, Initializer):
        is_class = isinstance(value, type) and issubclass(value, Initializer)
        example = value.__name__ if is_class else "HeNormal"
        raise TypeError(f"{given}: give an initializer, for example nn.{example}()")
    if value.data_dependent and not fitted:
        raise ValueError(f"{given}: only the weights of Linear and Maxout are fitted to data; give another initializer")
