"""Gradients kept within bounds."""

from typing import Any

Array = Any


def norm(xp: Any, x: Array, axis: int = -1) -> Array:
    """The Euclidean norm along an axis, which stays with length 1."""
    return xp.sqrt(xp.sum(x * x, axis=axis, keepdims=True))


def clip_by_norm(xp: Any, g: Array, limit: float) -> Array:
    """g min(1, limit / |g|): the whole gradient of a model, scaled down (Pascanu et al., 2013; eps as in PyTorch)."""
    return g * xp.minimum(limit / (norm(xp, g) + 1e-6), 1.0)
