"""JAX in the benchmark, as one writes it by hand: jit, value_and_grad, optax."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from nets import Case, Weights


class JAX:
    """One compiled function for a step, from the rows by index to the update; its buffers are donated."""

    def __init__(self, case: Case, start: Weights, platform: str) -> None:
        self._exact, self._device = case.dtype == "float64", jax.devices(platform)[0]
        self._batch = case.net.batch
        rate = case.learning_rate
        optimizer = optax.sgd(rate) if case.optimizer == "SGD" else optax.adam(rate, eps=case.eps)

        def forward(weights: list[Any], x: Any) -> Any:
            for weight, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
                x = jax.nn.relu(x @ weight + bias)
            return x @ weights[-2] + weights[-1]

        def loss(weights: list[Any], x: Any, y: Any) -> Any:
            return optax.softmax_cross_entropy_with_integer_labels(forward(weights, x), y).mean()

        @partial(jax.jit, static_argnames="size", donate_argnums=0)
        def step(training: Any, x: Any, y: Any, order: Any, first: Any, size: int) -> Any:
            weights, slots, total = training
            rows = jax.lax.dynamic_slice_in_dim(order, first, size)
            batch = (values.at[rows].get(mode="promise_in_bounds") for values in (x, y))
            value, gradients = jax.value_and_grad(loss)(weights, *batch)
            updates, slots = optimizer.update(gradients, slots, weights)
            return optax.apply_updates(weights, updates), slots, total + value

        self._step = step
        self._forward = jax.jit(lambda weights, x: jnp.argmax(forward(weights, x), axis=-1))
        with self._scope():
            weights = jax.device_put([array.copy() for array in start], self._device)
            self._training = weights, optimizer.init(weights), jnp.zeros((), case.dtype)

    @contextmanager
    def _scope(self) -> Iterator[None]:
        with jax.enable_x64(self._exact), jax.default_matmul_precision("highest"), jax.default_device(self._device):
            yield

    def put(self, x: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
        with self._scope():
            return jax.block_until_ready(jax.device_put((x, y.astype(np.int32)), self._device))

    def epoch(self, x: Any, y: Any, shuffle: bool = True) -> None:
        rows = len(x)
        order = np.random.default_rng().permutation(rows) if shuffle else np.arange(rows)
        with self._scope():
            data = jax.device_put((x, y.astype(np.int32), order.astype(np.int32)), self._device)
            for start in range(0, rows, self._batch):
                size = min(self._batch, rows - start)
                self._training = self._step(self._training, *data, np.int32(start), size)
            jax.block_until_ready(self._training)

    def weights(self) -> Weights:
        return [np.asarray(array) for array in self._training[0]]

    def predict(self, x: np.ndarray) -> np.ndarray:
        with self._scope():
            return np.asarray(self._forward(self._training[0], x))
