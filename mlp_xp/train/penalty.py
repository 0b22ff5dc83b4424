"""An L2 penalty on the weights that is part of the loss."""

from collections.abc import Callable
from typing import Any

from mlp_xp.nn import Layout, Loss

Array = Any


def penalty(xp: Any, layout: Layout) -> Callable[..., Array]:
    """(flat, p, gradients, c) -> R; adds dR to the gradients, in their dict.

    R = c / 2 sum W^2,   dR = c W   over the weights W that decay, which are views of `flat`. c has the leading axes of
    models side by side, or is a number. Of each weight, the gradient without dR is let go of at once.
    """
    spans = [(entry.start, entry.stop) for entry in layout.entries if entry.parameter.decays]
    decays = {entry.name: entry.parameter.decays for entry in layout.entries}
    chosen = layout.nest(decays | {entry.name: False for entry in layout.buffers.entries})

    def penalised(flat: Array, p: dict[str, Any], gradients: dict[str, Any], c: Any) -> Array:
        squares = sum(xp.vecdot(flat[..., start:stop], flat[..., start:stop]) for start, stop in spans)
        pull = c if isinstance(c, float) or c.ndim == 0 else c[..., None, None]
        _add_pull(gradients, p, chosen, pull)
        return 0.5 * c * squares

    return penalised


def _add_pull(gradients: dict[str, Any], p: dict[str, Any], chosen: dict[str, Any], pull: Any) -> None:
    for name, gradient in gradients.items():
        if isinstance(gradient, dict):
            _add_pull(gradient, p[name], chosen[name], pull)
        elif chosen[name]:
            gradients[name] = gradient + pull * p[name]


def strength(xp: Any, l2: Any, loss: Loss, y: Array, target: Array, weight: Array | None) -> Any:
    """c = l2 / S for a batch of S rows or of weight S; 0 where S is 0, as nothing counts in such a batch."""
    mass = loss.mass(xp, y, target, weight)
    if type(mass) is float:  # and no scalar of NumPy's
        return l2 / mass
    smallest = float(xp.finfo(mass.dtype).smallest_normal)
    return l2 * (xp.astype(mass > 0, mass.dtype) / xp.maximum(mass, smallest))
