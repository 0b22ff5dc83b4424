"""Is backward the derivative of forward? Central differences in float64, on any backend."""

from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

from mlp_xp import random

from .layer import Context, Layer
from .layout import Layout
from .losses import Loss

STEP = 1e-3
# Fourth-order central differences: (8 (f(+h) - f(-h)) - (f(+2h) - f(-2h))) / 12 h
STENCIL = ((1, 8 / 12), (-1, -8 / 12), (2, -1 / 12), (-2, 1 / 12))


@dataclass(frozen=True)
class GradientCheck:
    """Derivatives along one random direction: of all inputs and parameters together, then of each alone."""

    what: str
    rows: tuple[tuple[str, float, float], ...]
    """(name, by backward, by central differences); the first row is named "all"."""
    tolerance: float

    @property
    def error(self) -> float:
        """Relative error of the derivative along the whole direction."""
        return relative_error(*self.rows[0][1:])

    @property
    def passed(self) -> bool:
        return self.error <= self.tolerance

    def __str__(self) -> str:
        lines = [
            f"gradient check of {self.what}: {'passed' if self.passed else 'FAILED'}, relative error {self.error:.2e}, "
            f"tolerance {self.tolerance:.0e}",
            f"{'along':>16} {'backward':>24} {'central differences':>24} {'relative error':>15}",
        ]
        lines += [f"{name:>16} {a:24.16e} {b:24.16e} {relative_error(a, b):15.2e}" for name, a, b in self.rows]
        return "\n".join(lines)


def gradient_check(
    layer: Layer,
    x: Any,
    *,
    backend: Any,
    loss: Loss | None = None,
    target: Any = None,
    weight: Any = None,
    context: Context | None = None,
    lead: tuple[int, ...] = (),
    seed: int = 0,
    tolerance: float = 1e-9,
) -> GradientCheck:
    """Compare backward with central differences along one random direction of all inputs and parameters.

    `layer` is a layer or a whole model, `x` a NumPy float64 array (batch, features), `backend` what
    `mlp_xp.backends.select` gives. With `loss`, its value at `target` (NumPy: labels or (batch, outputs)) with
    per-sample `weight` is differentiated, else a random combination of the outputs. `lead=(3,)` checks three models
    side by side. Raises AssertionError with everything that was compared when the relative error exceeds `tolerance`.
    """
    problem = _Problem(layer, x, backend, loss, target, weight, context or Context(), lead, seed)
    slopes = problem.slopes()
    directions = {name: problem.rng.normal(size=value.shape) for name, value in problem.point.items()}
    norm = sum(float((v * v).sum()) for v in directions.values()) ** 0.5
    directions = {name: v / norm for name, v in directions.items()}

    def row(label: str, names: list[str]) -> tuple[str, float, float]:
        analytic = sum(float((slopes[name] * directions[name]).sum()) for name in names)
        return label, analytic, problem.central_difference({name: directions[name] for name in names})

    names = list(directions)
    result = GradientCheck(
        f"{layer}" + (f" with {loss}" if loss else "") + f" on {backend.word}",
        (row("all", names), *(row(name, [name]) for name in names)),
        tolerance,
    )
    if not result.passed:
        raise AssertionError(str(result))
    return result


def jacobian_check(
    layer: Layer, x: Any, *, backend: Any, context: Context | None = None, seed: int = 0, tolerance: float = 1e-8
) -> float:
    """Compare every entry of the Jacobian of a small net, d outputs / d (inputs and parameters), with differences.

    Gives the largest absolute error; AssertionError that names the worst entry when it exceeds `tolerance` times the
    largest entry of the Jacobian.
    """
    problem = _Problem(layer, x, backend, None, None, None, context or Context(), (), seed)
    worst, largest = (0.0, ""), 0.0
    for output in range(problem.mix.size):
        problem.mix[...] = 0.0
        problem.mix.flat[output] = 1.0
        for name, slope in problem.slopes().items():
            for index in range(slope.size):
                direction = slope * 0.0
                direction.flat[index] = 1.0
                numeric = problem.central_difference({name: direction})
                analytic = float(slope.flat[index])
                largest = max(largest, abs(numeric))
                entry = f"d y[{output}] / d {name}[{index}]: backward {analytic:.12g}, differences {numeric:.12g}"
                worst = max(worst, (abs(analytic - numeric), entry))
    if worst[0] > tolerance * max(largest, 1.0):
        raise AssertionError(f"Jacobian of {layer} on {backend.word}: worst entry {worst[1]}, error {worst[0]:.2e}")
    return worst[0]


@dataclass(frozen=True)
class EntryCheck:
    """The derivatives by single entries of one parameter: what backward gives beside central differences."""

    name: str
    shape: tuple[int, ...]
    compared: int
    """How many of its entries."""
    largest: float
    """The largest derivative by differences, |df/dW_i|."""
    difference: float
    """The largest |backward - differences|."""
    error: float
    """The largest relative difference; entries below a thousandth of the parameter's largest count as that."""
    passed: bool


def entry_check(
    layer: Layer,
    x: Any,
    *,
    backend: Any,
    loss: Loss | None = None,
    target: Any = None,
    context: Context | None = None,
    parameters: dict[str, Any] | None = None,
    entries: int | None = None,
    seed: int = 0,
    tolerance: float = 1e-5,
) -> tuple[EntryCheck, ...]:
    """Compare backward with central differences entry by entry: a table with a row for x and for each parameter.

    As `gradient_check`, at `parameters` (NumPy arrays by name) where given, and with so many `entries` of each drawn at
    random where it has more. Where the two disagree a step a hundred times shorter decides, within which hardly ever
    lies a kink such as that of ReLU at 0. Raises nothing: each row says whether it passed.
    """
    problem = _Problem(layer, x, backend, loss, target, None, context or Context(), (), seed)
    problem.point |= parameters or {}
    slopes = problem.slopes()
    everywhere = 1e-6 * max(float(abs(slope).max()) for slope in slopes.values())
    return tuple(_entries_of(problem, name, slopes[name], entries, everywhere, tolerance) for name in slopes)


def _entries_of(
    problem: "_Problem", name: str, slope: Any, entries: int | None, least: float, tolerance: float
) -> EntryCheck:
    chosen = list(range(slope.size))
    if entries is not None and entries < slope.size:
        chosen = sorted(problem.rng.choice(slope.size, entries, replace=False).tolist())
    floor = max(1e-3 * float(abs(slope).max()), least, 1e-12)  # below it is only rounding to compare
    largest = difference = error = 0.0
    for index in chosen:
        direction = problem.point[name] * 0.0
        direction.flat[index] = 1.0
        backward = float(slope.flat[index])
        for step in (STEP, STEP / 100):
            numeric = problem.central_difference({name: direction}, step)
            gap = abs(backward - numeric)
            relative = gap / max(abs(backward), abs(numeric), floor)
            if not isfinite(gap):
                gap = relative = inf
            if relative <= tolerance:
                break
        largest, difference, error = max(largest, abs(numeric)), max(difference, gap), max(error, relative)
    return EntryCheck(name, tuple(slope.shape), len(chosen), largest, difference, error, error <= tolerance)


def relative_error(a: float, b: float) -> float:
    return abs(a - b) / max(abs(a), abs(b), 1e-12)


class _Problem:
    """A scalar function of the named host arrays `point`, and its slopes by backward."""

    def __init__(
        self,
        layer: Layer,
        x: Any,
        backend: Any,
        loss: Loss | None,
        target: Any,
        weight: Any,
        context: Context,
        lead: tuple[int, ...],
        seed: int,
    ) -> None:
        self.backend, self.layout = backend, Layout(layer)
        self.rng = random.stream(seed, "gradient check")
        self.point = {"x": x}
        self.buffers: dict[str, Any] = {}
        trained = {entry.name for entry in self.layout.entries}
        for name, value in self.layout.initial(seed).items():
            # Not at the usual start, where biases are zero: a mistake may vanish there.
            moved = value + 0.1 * self.rng.normal(size=(*lead, *value.shape))
            (self.point if name in trained else self.buffers)[name] = moved
        xp = backend.xp

        def forward(p: Any, x: Any, context: Context) -> Any:
            return layer.forward(xp, p, x, context)

        def objective(p: Any, x: Any, mix: Any, target: Any, weight: Any, key: Any) -> Any:
            y, _ = forward(p, x, context._replace(key=key))
            return xp.sum(loss(xp, y, target, weight)[0] if loss else mix * y)

        def slopes(p: Any, x: Any, mix: Any, target: Any, weight: Any, key: Any) -> Any:
            y, saved = forward(p, x, context._replace(key=key))
            dy = loss(xp, y, target, weight)[1] if loss else mix
            return layer.backward(xp, p, saved, dy)

        def outputs(p: Any, x: Any, key: Any) -> Any:
            return forward(p, x, context._replace(key=key))[0]

        self._objective, self._slopes = backend.compile(objective), backend.compile(slopes)
        self._key = context.key
        self._fixed = (
            None if target is None else backend.from_host(target),
            None if weight is None else backend.from_host(weight, "float64"),
        )
        with backend.scope():
            y = backend.compile(outputs)(*self._at(self.point), self._key)
            self.mix = self.rng.normal(size=tuple(y.shape))

    def _at(self, point: dict[str, Any]) -> tuple[Any, Any]:
        host = point | self.buffers
        device = {name: self.backend.from_host(value, "float64") for name, value in host.items()}
        x = device.pop("x")
        return self.layout.nest(device), x

    def value(self, point: dict[str, Any]) -> float:
        mix = self.backend.from_host(self.mix, "float64")
        with self.backend.scope():
            value = self._objective(*self._at(point), mix, *self._fixed, self._key)
            return float(self.backend.to_host(value))

    def slopes(self) -> dict[str, Any]:
        """The derivative by every input and parameter, as host arrays shaped like them."""
        mix = self.backend.from_host(self.mix, "float64")
        with self.backend.scope():
            dx, grads = self._slopes(*self._at(self.point), mix, *self._fixed, self._key)
            host = {"x": self.backend.to_host(dx)}
            for entry in self.layout.entries:
                node = grads
                for part in entry.name.split("."):
                    node = node[part]
                host[entry.name] = self.backend.to_host(node)
        # One x feeds all the models of a leading axis: their slopes add up.
        extra = tuple(range(host["x"].ndim - self.point["x"].ndim))
        host["x"] = host["x"].sum(axis=extra)
        return host

    def central_difference(self, direction: dict[str, Any], step: float = STEP) -> float:
        total = 0.0
        for distance, factor in STENCIL:
            moved = {name: self.point[name] + distance * step * v for name, v in direction.items()}
            total += factor * self.value(self.point | moved)
        return total / step
