"""On the CPU what is too small to be a normal number is zero within a backend's scope, and nowhere else."""

import threading

import numpy as np
import pytest

from mlp_xp import backends, nn, optim, train
from mlp_xp.backends.denormals import control

pytestmark = pytest.mark.skipif(control() is None, reason="how this processor or system is told so is not known here")
NUMPY = backends.select("numpy")
SMALL = {"float32": 1e-38, "float64": 2e-308}


def remains(dtype: str) -> bool:
    """Is a tenth of a number near the smallest normal one kept, as IEEE 754 has it?"""
    tenth = np.full(5, SMALL[dtype], dtype) * np.asarray(0.1, dtype)
    assert len(set(tenth.tolist())) == 1
    return bool(tenth[0] != 0)


@pytest.mark.parametrize("dtype", SMALL)
def test_within_a_scope_alone(dtype: str) -> None:
    assert remains(dtype)
    with NUMPY.scope():
        assert not remains(dtype)
        with NUMPY.scope():
            assert not remains(dtype)
        assert not remains(dtype)
        found: list[bool] = []
        other = threading.Thread(target=lambda: found.append(remains(dtype)))
        other.start()
        other.join()
    assert remains(dtype)
    with pytest.raises(KeyError), NUMPY.scope():
        raise KeyError
    assert remains(dtype)


@pytest.mark.parametrize("dtype", SMALL)
def test_what_numpy_knows_of_a_dtype_is_not_touched(dtype: str) -> None:
    with NUMPY.scope():
        found = np.finfo(dtype).smallest_subnormal
    assert found > 0


@pytest.mark.parametrize("units", [1, 200])
def test_the_moments_of_a_weight_without_gradient_fade_to_zero(units: int) -> None:
    # The second feature is seen in the first batch alone; a thousand steps later its velocity has faded.
    x = np.zeros((1200, 200), np.float32)
    x[:, 0], x[0, 1:] = 1.0, 1.0
    trainer = train.Trainer(
        nn.Linear(200, units), nn.MeanSquaredError(), optim.SGD(1e-4, momentum=0.9), backend="numpy"
    )
    trainer.fit(x, np.ones((1200, units)), epochs=1, batch_size=1, shuffle=False, progress=False)
    (velocity,) = trainer.state.slots
    size = np.abs(velocity)
    assert not np.any((size > 0) & (size < np.finfo(np.float32).smallest_normal))
    faded = trainer.named(velocity)["weight"][1:]
    assert np.all(faded == 0)
