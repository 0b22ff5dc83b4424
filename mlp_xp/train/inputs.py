"""What a user hands in, checked once and put on the device."""

from math import inf, isfinite
from numbers import Real
from operator import index
from typing import Any

from mlp_xp import backends
from mlp_xp.nn import Layer, Loss, ShapeError

from .feed import Source, is_source
from .rows import HOST, SMALL, HostRows, SparseRows, is_sparse, kept_dtype
from .step import Data

FEEDS = ("auto", "device", "stream")
FEW = 1 << 18
"""Bytes. So few are checked on the host where they are given there: a device takes longer to answer at all."""
SHARE = 0.75
"""X goes to a device with memory of its own if it takes no more of what is free there: steps need some too."""


def home(backend: Any, *arrays: Any) -> Any:
    """The backend on which to check arrays, or None for what is not given, before an evaluation: the host's for few."""
    given = [array for array in arrays if array is not None]
    few = all(map(HOST.owns, given)) and sum(array.nbytes for array in given) <= FEW
    return HOST if few else backend


def features(backend: Any, x: Any, model: Layer, dtype: str, name: str = "X", feed: str = "auto") -> tuple[Any, int]:
    """X (rows, features) where `feed` wants it, and the number of outputs that `model` gives for it.

    On the device it is of `dtype`, or of the small integers that it was given in. HostRows where it stays on the host.
    """
    x = _placed(backend, x, dtype, name, feed)
    shape = tuple(x.shape)
    if x.ndim < 2:
        raise ShapeError(
            f"{name} must have shape (rows, features), got {shape}; reshape it: `{name}.reshape(1, -1)` is one row, "
            f"`{name}.reshape(-1, 1)` one feature"
        )
    if x.shape[0] == 0:
        raise ValueError(f"{name} is empty: shape {shape}")
    try:
        outputs = model.output_features(shape[1] if x.ndim == 2 else shape[1:])
    except ShapeError as error:
        raise ShapeError(f"{name} of shape {shape} does not fit the model: {error}") from None
    if not isinstance(outputs, int):
        raise ShapeError(
            f"{name} must have shape (rows, features), got {shape}; reshape it, for example "
            f"`{name}.reshape(len({name}), -1)`, or let the model begin with nn.Flatten"
        )
    stays = isinstance(x, HostRows)
    xp = HOST.xp if stays else backend.xp
    uncertain = x.uncertain() if stays else (x,) if x.dtype == getattr(xp, dtype) else ()
    if not all(finite(xp, part) for part in uncertain):
        raise ValueError(
            f"{name} contains NaN or infinity (in {dtype}); remove those rows or fill them in, for example with "
            f"scikit-learn's SimpleImputer"
        )
    try:
        # What stays on the host is read once more only for a layer that wants to look at it.
        for part in (x.parts() if model.codes else ()) if stays else (x,):
            model.check(xp, part)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return x, outputs


def _placed(backend: Any, x: Any, dtype: str, name: str, feed: str) -> Any:
    """X on the device or, where it is to be streamed from there, on the host."""
    if is_sparse(x):
        return SparseRows(x, dtype, name)
    kept = kept_dtype(x, dtype)
    if feed == "stream" or (feed == "auto" and _too_large(backend, x, kept)):
        return HostRows(x, dtype, name)
    return backend.from_any(x, None if kept in SMALL else dtype, name)


def _too_large(backend: Any, x: Any, kept: str) -> bool:
    """Is X on the host too large for the device? Where the device is the host itself, a memory map is."""
    free = backend.free_memory()
    if free is None:
        return backends.is_mapped(x)
    return HOST.owns(x) and x.size * x[:0].astype(kept).itemsize > SHARE * free


def finite(xp: Any, x: Any) -> bool:
    """Is every number in x finite?

    NaN and infinity reach the sum. Only where that is not finite, as it is too where finite numbers overflow, is each
    number asked, which takes memory for as many answers.
    """
    return isfinite(xp.sum(x)) or bool(xp.all(xp.isfinite(x)))


def at_once(x: Any, method: str) -> Any:
    """The features, if they are there all at once; ValueError that says what to do if they are not."""
    if isinstance(x, HostRows | Source):
        why, some = "is read in parts", "some of its rows as one array"
        if isinstance(x, SparseRows):
            why, some = "is sparse, which is never made dense as a whole", "X[:n].toarray()"
        raise ValueError(
            f"the model takes statistics from X, over all rows at once, and X {why}: call "
            f"trainer.{method}({some}) first"
        )
    return x


def labelled(
    backend: Any,
    x: Any,
    y: Any,
    weight: Any,
    model: Layer,
    loss: Loss,
    dtype: str,
    prefix: str = "",
    feed: str = "auto",
) -> tuple[Data, int]:
    """X, y and sample weights, checked against the model and the loss; and the number of outputs.

    They are on the device where `feed` wants X there, else on the host.
    """
    if is_source(x, y):
        if feed == "device" or y is not None or weight is not None:
            wrong = "feed='device'" if feed == "device" else "y or sample_weight"
            raise TypeError(f"{prefix}X gives batches of (X, y) or (X, y, sample_weight): leave out {wrong}")

        def checked(x: Any, y: Any, weight: Any, prefix: str) -> tuple[Data, int]:
            home = HOST if backends.on_host(x) else backend
            return labelled(home, x, y, weight, model, loss, dtype, prefix, feed="device")

        source = Source(x, checked, f"{prefix}X")
        return Data(source), source.outputs
    x, outputs = features(backend, x, model, dtype, f"{prefix}X", feed)
    xp = backend.xp
    if y is None:
        raise TypeError(f"{prefix}y is None: give one target for each row")
    target = backend.from_any(y, None, f"{prefix}y")
    if target.ndim == 0 or target.shape[0] != x.shape[0]:
        raise ShapeError(
            f"{prefix}X has {x.shape[0]} rows, {prefix}y has shape {tuple(target.shape)}: one target for each row"
        )
    target = loss.encode(xp, target, outputs, getattr(xp, dtype))
    weight = _weights(backend, weight, x.shape[0], dtype, f"{prefix}sample_weight")
    if isinstance(x, HostRows):
        target, weight = (None if part is None else backend.to_host(part) for part in (target, weight))
    return Data(x, target, weight), outputs


def _weights(backend: Any, weight: Any, rows: int, dtype: str, name: str) -> Any:
    if weight is None:
        return None
    xp = backend.xp
    weight = backend.from_any(weight, dtype, name)
    if tuple(weight.shape) != (rows,):
        raise ShapeError(f"{name} must have shape ({rows},), one weight a row; got {tuple(weight.shape)}")
    if not finite(xp, weight) or bool(xp.any(weight < 0)) or not bool(xp.any(weight > 0)):
        raise ValueError(f"{name} must be finite, not negative, and not all zero")
    return weight


def whole(name: str, value: Any, at_least: int = 1, hint: str = "") -> int:
    """A whole number as Python's int, from any library's; ValueError that names it."""
    try:
        number = -1 if isinstance(value, bool) else index(value)
    except TypeError:
        number = -1
    if number < at_least:
        raise ValueError(f"{name}={value!r}: give a whole number of at least {at_least}{hint and ', '}{hint}")
    return number


def not_negative(given: str, value: Any) -> float:
    """A finite number of at least 0 as Python's float, from any library's; ValueError that says what was `given`."""
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= float(value) < inf:
        raise ValueError(f"{given}: give a finite number of at least 0")
    return float(value)


def trainable(model: Layer) -> None:
    """ValueError for a model that has no gradient."""
    if not model.differentiable:
        raise ValueError("Step has no gradient: train with Sigmoid or Tanh in its place, and put Step in afterwards")


def batch_rows(batch_size: int | str | None, x: Any, model: Layer, full_batch: bool = False) -> int:
    """The number of rows in a batch: "auto" is 32 or all there are, None is all. Every batch must do for the model.

    `full_batch` says that the optimizer takes all rows at once and no fewer. A source has batches of its own: 0.
    """
    if isinstance(x, Source):
        if full_batch:
            raise ValueError("a line search needs all rows at once, not in batches: give X and y, or another optimizer")
        if batch_size != "auto":
            raise ValueError(f"batch_size={batch_size}: X gives batches as they are to be; leave batch_size out")
        return 0
    rows = x.shape[0]
    batch = _batch_rows(None if full_batch and batch_size == "auto" else batch_size, rows)
    if full_batch and batch < rows:
        raise ValueError(
            f"batch_size={batch_size}: a line search needs all {rows} rows at once; leave batch_size out, or take "
            f"another optimizer for small batches"
        )
    smallest = min(batch, rows % batch or batch)
    if smallest < model.minimum_rows:
        raise ValueError(
            f"with batch_size={batch} the last of {rows} rows make a batch of {smallest}, and the model needs at least "
            f"{model.minimum_rows} rows to train on (BatchNorm takes a variance over them); choose another batch_size"
        )
    return batch


def _batch_rows(batch_size: int | str | None, rows: int) -> int:
    if batch_size == "auto":
        return min(32, rows)
    if batch_size is None:
        return rows
    batch_size = whole("batch_size", batch_size, hint="or 'auto', or None for all rows")
    if batch_size > rows:
        raise ValueError(
            f"batch_size={batch_size} is larger than the data, which has {rows} rows; "
            f"give at most {rows}, or None to use all rows at once"
        )
    return batch_size
