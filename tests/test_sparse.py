"""A sparse X gives the numbers that the same X gives as a dense array, and is never dense as a whole."""

import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers import assert_close

from mlp_xp import backends, nn, optim, train

sparse = pytest.importorskip("scipy.sparse")

RNG = np.random.default_rng(8)
ROWS, FEATURES, BATCH = 50, 12, 16  # the last batch has 2 rows
X = RNG.normal(size=(ROWS, FEATURES)) * (RNG.random((ROWS, FEATURES)) < 0.3)
Y = (X.sum(1) > 0).astype(np.int64)
X_VAL, Y_VAL = X[::-3] * 0.5, Y[::-3]
WEIGHT = RNG.uniform(0.1, 2.0, ROWS)
MODEL = nn.Sequential(nn.Linear(FEATURES, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 2))
KINDS = ["csr_array", "csr_matrix", "csc_array", "coo_matrix", "lil_array"]


def new(backend: Any = "numpy", model: nn.Layer = MODEL, **more: Any) -> train.Trainer:
    more = {"optimizer": optim.Adam(0.02), "metrics": [train.Accuracy(), train.RocAuc()], "dtype": "float64", **more}
    return train.Trainer(model, nn.SoftmaxCrossEntropy(), backend=backend, **more)


def fit(trainer: train.Trainer, make: Any = sparse.csr_array, epochs: int = 3, **more: Any) -> train.History:
    more = {"batch_size": BATCH, "validation_data": (make(X_VAL), Y_VAL), "progress": False, **more}
    return trainer.fit(make(X), Y, epochs=epochs, **more)


def weights(trainer: train.Trainer) -> np.ndarray:
    return np.concatenate([value.reshape(-1) for value in trainer.parameters.values()])


def numbers(history: train.History) -> list[dict[str, float]]:
    return [{name: value for name, value in record.items() if name != "seconds"} for record in history.records]


@pytest.fixture
def at_most_a_batch(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """No more rows than a batch has are dense at a time; gives how many each time."""
    made: list[int] = []
    for kind in (sparse.csr_array, sparse.csr_matrix, sparse.csc_array, sparse.coo_matrix, sparse.lil_array):

        def toarray(self: Any, *options: Any, original: Any = kind.toarray, **more: Any) -> np.ndarray:
            made.append(self.shape[0])
            assert self.shape[0] <= BATCH, "more rows than a batch has are dense"
            return original(self, *options, **more)

        monkeypatch.setattr(kind, "toarray", toarray)
    monkeypatch.setattr("mlp_xp.train.trainer.EVALUATION_ROWS", BATCH)
    monkeypatch.setattr("mlp_xp.train.rows.CHECKED_ROWS", BATCH)
    yield made
    assert made


@pytest.mark.parametrize("options", [{}, {"shuffle": False, "sample_weight": WEIGHT}], ids=["plain", "weighted"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_numpy_gives_the_same_numbers_bit_for_bit(
    dtype: str, options: dict[str, Any], at_most_a_batch: list[int]
) -> None:
    dense, from_sparse = (new(dtype=dtype) for _ in range(2))
    assert numbers(fit(from_sparse, **options)) == numbers(fit(dense, np.asarray, **options))
    np.testing.assert_array_equal(weights(from_sparse), weights(dense))
    given = sparse.csr_array(X)
    weight = options.get("sample_weight")
    assert from_sparse.evaluate(given, Y, sample_weight=weight) == dense.evaluate(X, Y, sample_weight=weight)
    np.testing.assert_array_equal(from_sparse.predict(given), dense.predict(X))
    assert set(at_most_a_batch) == {BATCH, ROWS % BATCH, len(X_VAL) % BATCH}


def test_every_backend_does(backend: backends.Backend) -> None:
    dense, from_sparse = new(backend), new(backend)
    expected, history = fit(dense, np.asarray, sample_weight=WEIGHT), fit(from_sparse, sample_weight=WEIGHT)
    assert_close(weights(from_sparse), weights(dense), factor=100, dtype=np.float64)
    for name in ("loss", "accuracy", "val_loss", "val_accuracy", "val_roc_auc"):
        assert history[name] == pytest.approx(expected[name], rel=1e-12)
    outputs = from_sparse.predict(sparse.csr_array(X))
    assert isinstance(outputs, np.ndarray) and outputs.flags.writeable
    assert_close(outputs, dense.predict(X), factor=100, dtype=np.float64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "int16", "bool"])
def test_any_kind_of_sparse_matrix_of_numbers_is_taken(kind: str, dtype: str, at_most_a_batch: list[int]) -> None:
    x = np.round(2 * X).astype(dtype)
    dense, from_sparse = new(), new()
    for trainer, given in ((dense, x), (from_sparse, getattr(sparse, kind)(x))):
        trainer.fit(given, Y, epochs=1, batch_size=BATCH, progress=False)
    np.testing.assert_array_equal(weights(from_sparse), weights(dense))


@pytest.mark.parametrize("optimizer", [optim.SGD(0.1), optim.LBFGS(history=5)], ids=["SGD", "LBFGS"])
def test_a_batch_of_all_rows_is_made_dense_once(optimizer: optim.Optimizer, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = sparse.csr_array.toarray
    monkeypatch.setattr(sparse.csr_array, "toarray", lambda self: made.append(self.shape) or original(self))
    dense, from_sparse = (new(optimizer=optimizer) for _ in range(2))
    from_sparse.fit(sparse.csr_array(X), Y, epochs=4, batch_size=None, progress=False)
    dense.fit(X, Y, epochs=4, batch_size=None, progress=False)
    np.testing.assert_array_equal(weights(from_sparse), weights(dense))
    assert made == [(ROWS, FEATURES)]


def test_a_fit_goes_on_after_a_stop_as_if_there_had_been_none() -> None:
    straight, stopped = new(seed=3), new(seed=3)
    fit(straight, epochs=4)
    fit(stopped, epochs=1)
    resumed = pickle.loads(pickle.dumps(stopped))
    fit(resumed, epochs=3)
    np.testing.assert_array_equal(weights(resumed), weights(straight))
    assert numbers(resumed.history) == numbers(straight.history)


def test_the_way_back_to_the_last_good_weights_is_the_same(at_most_a_batch: list[int]) -> None:
    errors = []
    trainers = [new(optimizer=optim.SGD(1e60)) for _ in range(2)]
    for trainer, make in zip(trainers, (np.asarray, sparse.csr_array), strict=True):
        with pytest.raises(train.Diverged) as error:
            fit(trainer, make)
        errors.append(str(error.value))
    assert errors[0] == errors[1]
    np.testing.assert_array_equal(weights(trainers[0]), weights(trainers[1]))


def test_the_search_for_a_learning_rate_takes_it_too() -> None:
    searches = [train.find_learning_rate(new(), x, Y, steps=8, progress=False) for x in (X, sparse.csr_array(X))]
    assert searches[0] == searches[1]


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Standardize(FEATURES), nn.Linear(FEATURES, 2)),
        nn.Sequential(nn.Linear(FEATURES, 4, weight_init=nn.LSUV()), nn.ReLU(), nn.Linear(4, 2)),
    ],
    ids=["Standardize", "LSUV"],
)
def test_what_the_model_takes_from_data_it_takes_from_dense_rows(model: nn.Layer) -> None:
    trainer, dense = new(model=model), new(model=model)
    before = weights(trainer)
    with pytest.raises(ValueError, match=r"call trainer\.adapt\(X\[:n\]\.toarray\(\)\) first"):
        fit(trainer)
    np.testing.assert_array_equal(weights(trainer), before)
    trainer.adapt(sparse.csr_array(X)[:20].toarray())
    dense.adapt(X[:20])
    fit(trainer)
    fit(dense, np.asarray)
    np.testing.assert_array_equal(weights(trainer), weights(dense))
    with pytest.raises(ValueError, match=r"call trainer\.refresh_statistics\(X\[:n\]\.toarray\(\)\)"):
        trainer.refresh_statistics(sparse.csr_array(X))


def test_categories_are_checked_by_parts(at_most_a_batch: list[int]) -> None:
    x = np.abs(np.round(X))
    x[-1, 4] = 7.0
    model = nn.Sequential(nn.Embedding({4: 7}, features=2), nn.Linear(FEATURES + 1, 2))
    with pytest.raises(ValueError, match="X: column 4 holds 7, but Embedding expects categories 0 to 6"):
        new(model=model).predict(sparse.csr_array(x))
    x[-1, 4] = 6.0
    trainer = new(model=model)
    np.testing.assert_array_equal(trainer.predict(sparse.csr_array(x)), trainer.predict(x))


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (sparse.csr_array(np.where(X > 2, np.nan, X)), ValueError, r"X contains NaN or infinity \(in float32\)"),
        (sparse.csr_array(1e300 * X), ValueError, r"X contains NaN or infinity \(in float32\)"),
        (sparse.csr_array(1j * X), TypeError, "X has dtype complex128, which is not a real number"),
        (sparse.csr_array(X[:, :3]), nn.ShapeError, r"X of shape \(50, 3\) does not fit the model"),
        (sparse.csr_array((0, FEATURES)), ValueError, "X is empty"),
        (sparse.csr_array(X[:9]), nn.ShapeError, "X has 9 rows, y has shape"),
        (sparse.coo_array(X[0]), nn.ShapeError, r"X must have shape \(rows, features\), got \(12,\)"),
    ],
    ids=["nan", "overflow", "complex", "features", "empty", "rows", "1-D"],
)
def test_what_does_not_fit_is_refused_as_a_dense_x_is(x: Any, error: type[Exception], message: str) -> None:
    trainer = new(dtype="float32")
    with pytest.raises(error, match=message):
        trainer.fit(x, Y, progress=False)
    assert trainer.step == 0


def test_targets_and_weights_are_dense() -> None:
    with pytest.raises(TypeError, match="y is a sparse matrix"):
        new().fit(sparse.csr_array(X), sparse.csr_array(Y[:, None]), progress=False)
    with pytest.raises(TypeError, match="sample_weight is a sparse matrix"):
        new().fit(X, Y, sample_weight=sparse.csr_array(WEIGHT[:, None]), progress=False)
