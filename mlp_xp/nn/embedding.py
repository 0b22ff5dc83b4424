"""Categories as vectors that are learned."""

from dataclasses import KW_ONLY, dataclass
from itertools import pairwise
from numbers import Integral
from typing import Any, ClassVar

import array_api_compat

from .checks import check_initializer, is_whole
from .initializers import Initializer, Normal
from .layer import Array, Context, Layer, Parameter, Parameters, ShapeError, side_by_side


@dataclass(frozen=True)
class Embedding(Layer):
    """Columns that hold categories 0, 1, ... become vectors: row k of the table E of a column stands for category k.

    `columns` says which and how many categories each has: Embedding({3: 10, 5: 4}, features=8) for columns 3 and 5. The
    other columns come first in y, as they are; then the vectors, column by column.

    The layer must see the categories as they are in the data: it stands first, or behind what keeps its columns, such
    as Standardize(6, skip=(3, 5)).

    As one-hot rows h a lookup is a product, and its derivative needs no scatter, which the standard lacks:
    y = h E,   dE = hT dy,   and dx is 0 for a category.   E: (..., categories, features)
    """

    columns: Any
    """{column: number of categories}; kept as sorted pairs."""
    features: int = 8
    _: KW_ONLY
    weight_init: Initializer = Normal(0.0, 1.0)
    in_float32: ClassVar[bool] = True  # bfloat16 cannot tell 257 from 256

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            pairs = [(*pair,) for pair in getattr(self.columns, "items", lambda: self.columns)()]
        except TypeError:
            pairs = [()]
        if any(len(pair) != 2 or not all(isinstance(n, Integral) for n in pair) for pair in pairs):
            raise ShapeError(
                f"Embedding({self.columns!r}): give {{column: number of categories}}, both whole numbers, for example "
                f"{{3: 10}}"
            )
        columns = tuple(sorted((int(column), int(categories)) for column, categories in pairs))
        object.__setattr__(self, "columns", columns)
        chosen = [column for column, _ in columns]
        if not columns or chosen[0] < 0 or len(set(chosen)) < len(chosen) or min(n for _, n in columns) < 1:
            raise ShapeError(
                f"Embedding({dict(columns)}): give each column from 0 on once, with at least 1 category, for "
                f"example {{3: 10}}"
            )
        if not is_whole(self.features):
            raise ShapeError(f"Embedding(features={self.features!r}): give a whole number of features for each column")
        check_initializer(self, "weight_init")

    @property
    def codes(self) -> tuple[int, ...]:  # type: ignore[override]
        return tuple(column for column, _ in self.columns)

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Any]:
        numeric = [x[..., start:stop] for start, stop in self._between(x.shape[-1])]
        hot = {column: one_hot_column(xp, x, column, categories) for column, categories in self.columns}
        vectors = [h @ p[f"column_{column}"] for column, h in hot.items()]
        return side_by_side(xp, [*numeric, *vectors]), (hot, x.shape[-1])

    def backward(self, xp: Any, p: Parameters, saved: Any, dy: Array) -> tuple[Array, Parameters]:
        _, width = saved
        zero = 0.0 * dy[..., :1]
        parts, start = [], 0
        runs = {stop: stop - first for first, stop in self._between(width)}
        for column in range(width + 1):
            if column in runs:
                parts.append(dy[..., start : start + runs[column]])
                start += runs[column]
            if column in dict(self.columns):
                parts.append(zero)
        return xp.concat(parts, axis=-1), self.gradients(xp, p, saved, dy)

    def gradients(self, xp: Any, p: Parameters, saved: Any, dy: Array) -> Parameters:
        hot, width = saved
        start, grads = width - len(self.columns), {}
        for column, h in hot.items():
            grads[f"column_{column}"] = h.mT @ dy[..., start : start + self.features]
            start += self.features
        return grads

    def _between(self, width: int) -> list[tuple[int, int]]:
        """The runs of columns that are numbers, (start, stop)."""
        edges = [-1, *(column for column, _ in self.columns), width]
        runs = [(left + 1, right) for left, right in pairwise(edges)]
        return [(start, stop) for start, stop in runs if start < stop]

    def parameters(self) -> dict[str, Parameter]:
        return {
            f"column_{column}": Parameter((categories, self.features), self.weight_init, categories, self.features)
            for column, categories in self.columns
        }

    def output_features(self, features: Any) -> Any:
        if features is None:
            return None
        last = self.columns[-1][0]
        if not isinstance(features, int) or features <= last:
            raise ShapeError(f"{self} expects at least {last + 1} features, got {features}")
        return features + len(self.columns) * (self.features - 1)

    def check(self, xp: Any, x: Array) -> None:
        x = xp.reshape(x, (x.shape[0], -1))  # before a Flatten it is not flat yet
        for column, categories in self.columns:
            codes = x[:, column]
            if not xp.isdtype(codes.dtype, "real floating"):  # whose numbers of categories may be beyond these integers
                codes = xp.astype(codes, xp.float32)
            wrong = (codes != xp.floor(codes)) | (codes < 0) | (codes > categories - 1)
            if bool(xp.any(wrong)):
                bad = float(codes[int(xp.argmax(xp.astype(wrong, xp.int32)))])
                raise ValueError(
                    f"column {column} holds {bad:g}, but Embedding expects categories 0 to {categories - 1} there; "
                    f"encode them (for example with scikit-learn's OrdinalEncoder), or give the column more categories"
                )


def one_hot_column(xp: Any, x: Array, column: int, categories: int) -> Array:
    """Rows of 0 and 1 for the categories in a column, (..., batch, categories); all 0 for what is none of them."""
    known = xp.arange(categories, dtype=x.dtype, device=array_api_compat.device(x))
    return xp.astype(xp.abs(x[..., column : column + 1] - known) < 0.5, x.dtype)
