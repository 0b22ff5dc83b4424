"""The loss scale: float16 holds no gradient below 6e-8, so the gradient of the loss goes back multiplied by a number.

It is found while training, as large as leaves the gradients finite, on the device: a step never waits for the answer
(Micikevicius et al., "Mixed Precision Training", 2018, section 3.2).
"""

from math import nan
from typing import Any

import array_api_compat

Array = Any
START, GROWTH, GOOD_STEPS = 2.0**16, 2.0, 2000
"""It starts there, is halved by a step whose gradient is not finite, and doubled after so many good ones in a row: as
torch.amp.GradScaler has it."""
SMALLEST, LARGEST = 2.0**-14, 2.0**24
"""Its bounds; about those of fairseq (1e-4) and of NVIDIA's Apex. Where the smallest does not help, nothing does."""


def start(xp: Any, like: Array) -> Array:
    """[scale, good steps in a row]: (..., 2) with the leading axes of `like` (..., 0), in its dtype, on its device."""
    one = xp.asarray([START, 0.0], dtype=like.dtype, device=array_api_compat.device(like))
    return one + xp.zeros((*like.shape[:-1], 1), dtype=like.dtype, device=array_api_compat.device(like))


def judged(xp: Any, state: Any, value: Array, gradient: Array, buffers: Array, totals: Any) -> tuple[Any, ...]:
    """After a step: the gradient without the scale, what becomes of buffers and totals, and the scale of the next step.

    Where loss or gradient are not finite the gradient is NaN everywhere, which tells the optimizer to leave all as it
    is, and the buffers are those from before. A loss that is not finite is left out of the totals; but where the scale
    was the smallest already, the loss in the totals becomes NaN: the training has diverged.
    """
    scale, good = state.scale[..., 0], state.scale[..., 1]
    measured = xp.isfinite(value)
    fine = measured & xp.isfinite(xp.sum(gradient, axis=-1))  # what is not finite reaches the sum
    gradient = gradient * xp.where(fine, 1.0 / scale, nan)[..., None]
    if buffers is not None:
        buffers = xp.where(fine[..., None], buffers, state.buffers)

    before = state.totals
    loss = _where(xp, measured, totals.loss, before.loss)
    loss = xp.where(fine | (scale > SMALLEST), loss, nan)
    totals = before._replace(
        weight=_where(xp, measured, totals.weight, before.weight),
        loss=loss,
        metrics=tuple(
            tuple(_where(xp, measured, new, old) for new, old in zip(*pair, strict=True))
            for pair in zip(totals.metrics, before.metrics, strict=True)
        ),
        skipped=before.skipped + xp.astype(~fine, before.skipped.dtype),
    )

    good = xp.where(fine, good + 1.0, xp.zeros_like(good))
    grows = good >= GOOD_STEPS
    larger = xp.where(grows, xp.minimum(GROWTH * scale, xp.full_like(scale, LARGEST)), scale)
    smaller = xp.maximum(scale / GROWTH, xp.full_like(scale, SMALLEST))
    scale = xp.where(fine, larger, smaller)
    return gradient, buffers, totals, xp.stack([scale, xp.where(grows, xp.zeros_like(good), good)], axis=-1)


def _where(xp: Any, condition: Array, new: Array, old: Array) -> Array:
    """`new` where the condition (...) holds for a model, else `old`: (..., and axes of its own)."""
    return xp.where(xp.reshape(condition, (*condition.shape, *[1] * (new.ndim - condition.ndim))), new, old)
