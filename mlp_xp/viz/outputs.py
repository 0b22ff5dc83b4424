"""What a model says of each row."""

from typing import Any

import numpy as np


def decided(outputs: Any, threshold: float) -> np.ndarray:
    """The class of each row: of several outputs the largest, of one class 1 where it is above the threshold.

    A NaN is no decision: ValueError.
    """
    outputs = np.asarray(outputs).reshape(len(outputs), -1)
    if np.isnan(outputs).any():
        raise ValueError("some outputs are NaN: the model has diverged")
    return outputs.argmax(axis=1) if outputs.shape[1] > 1 else (outputs[:, 0] > threshold).astype(int)


def rows_of_outputs(outputs: Any) -> np.ndarray:
    """(rows, outputs) in float64, without NaN."""
    outputs = np.asarray(outputs, dtype=float)
    outputs = outputs[:, None] if outputs.ndim == 1 else outputs
    if outputs.ndim != 2 or not outputs.size:
        raise ValueError(f"outputs are (rows, classes), or (rows,) of class 1; got shape {outputs.shape}")
    if not np.isfinite(outputs).all():
        raise ValueError("some outputs are NaN or infinite: the model has diverged")
    return outputs


def log_softmax(z: np.ndarray) -> np.ndarray:
    """log p_c = z_c - log sum_k exp z_k, (rows, classes), shifted so that nothing overflows; one logit is against 0."""
    z = np.concatenate([np.zeros_like(z), z], axis=1) if z.shape[1] == 1 else z
    shifted = z - z.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def log_of(p: np.ndarray) -> np.ndarray:
    """log p_c, (rows, classes); one probability is that of class 1. A probability of 0 is taken for the smallest."""
    p = np.concatenate([1 - p, p], axis=1) if p.shape[1] == 1 else p
    return np.log(np.maximum(p, np.finfo(float).tiny))
