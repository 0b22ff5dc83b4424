"""Numbers and names as they are read."""

from collections.abc import Iterable
from math import isfinite, isinf
from numbers import Integral, Real
from typing import Any, TypeGuard

NONE = "–"
SPOKEN = {"f1": "F1", "r2": "R2", "mae": "MAE", "rmse": "RMSE", "roc": "ROC", "auc": "AUC"}


def number(value: Any) -> str:
    """A number with four digits, as it is read; a dash for none."""
    if value is None or value == "":
        return NONE
    if not is_number(value):
        return "infinite" if isinstance(value, float) and isinf(value) else "NaN" if value != value else str(value)
    if isinstance(value, Integral) or 1e4 <= float(f"{abs(value):.4g}") < 1e15:  # 9999.6 has five digits too
        return f"{round(value):,}"
    return f"{value:.4g}"


def measured(name: str, value: Any) -> str:
    """A number of a metric: an accuracy in per cent."""
    if name.endswith("accuracy") and is_number(value):
        return f"{100 * value:.2f}\N{NO-BREAK SPACE}%"
    return number(value)


def duration(seconds: float) -> str:
    if not isfinite(seconds):
        return NONE
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def is_number(value: Any) -> TypeGuard[float]:
    """Is it a number that can be drawn and compared? Not NaN, and none that is too large for a float."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)
    except OverflowError:
        return False


def said(name: str) -> str:
    """The name of a column as it is spoken: "val_roc_auc" is "ROC AUC"."""
    return " ".join(SPOKEN.get(word, word) for word in name.removeprefix("val_").split("_"))


def headed(name: str) -> str:
    """The same as a heading."""
    words = said(name)
    return words[:1].upper() + words[1:]


def listed(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def counted(count: float, what: str) -> str:
    return f"{number(int(count))} {what}{'' if count == 1 else 's'}"
