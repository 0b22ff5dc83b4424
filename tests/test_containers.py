"""Containers and layers that rearrange features: Residual, Parallel, Flatten, Embedding."""

from typing import Any

import numpy as np
import pytest
from helpers import assert_close, run, start

from mlp_xp import backends, nn, optim, train

NUMPY = backends.select("numpy")
RNG = np.random.default_rng(2)
X = RNG.normal(size=(6, 4))


def test_residual_adds_its_input(backend: backends.Backend) -> None:
    inner = (nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 4))
    parameters = start(nn.Residual(*inner))
    y = run(backend, nn.Residual(*inner), parameters, X)["y"]
    assert_close(y, X + run(backend, nn.Sequential(*inner), parameters, X)["y"], dtype=np.float64)
    assert list(parameters) == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_parallel_puts_its_layers_side_by_side(backend: backends.Backend) -> None:
    wide_and_deep = nn.Parallel(nn.Identity(), nn.Sequential(nn.Linear(4, 3), nn.ReLU()), nn.Linear(4, 2))
    parameters = start(wide_and_deep)
    y = run(backend, wide_and_deep, parameters, X)["y"]
    deep = np.maximum(X @ parameters["1.0.weight"] + parameters["1.0.bias"], 0)
    linear = X @ parameters["2.weight"] + parameters["2.bias"]
    assert_close(y, np.concatenate([X, deep, linear], axis=1), dtype=np.float64)
    assert wide_and_deep.output_features(4) == 9 and nn.Sequential(wide_and_deep, nn.Linear(9, 1))


def test_layers_in_parallel_draw_numbers_of_their_own() -> None:
    y = run(NUMPY, nn.Parallel(nn.Dropout(0.5), nn.Dropout(0.5)), {}, np.ones((40, 50)))["y"]
    assert 0.4 < (y[:, :50] == y[:, 50:]).mean() < 0.6


def test_flatten_takes_images_and_gives_rows(backend: backends.Backend) -> None:
    images = RNG.normal(size=(8, 3, 5)).astype(np.float32)
    model = nn.Sequential(nn.Flatten(), nn.Linear(15, 2))
    trainer, flat = (
        train.Trainer(m, nn.SoftmaxCrossEntropy(), backend=backend)
        for m in (model, nn.Sequential(nn.Identity(), nn.Linear(15, 2)))
    )
    trainer.fit(images, np.arange(8) % 2, epochs=2, batch_size=4, progress=False)
    flat.fit(images.reshape(8, -1), np.arange(8) % 2, epochs=2, batch_size=4, progress=False)
    np.testing.assert_array_equal(trainer.predict(images), flat.predict(images.reshape(8, -1)))


def test_rows_that_are_not_flat_are_refused_with_both_ways_out() -> None:
    trainer = train.Trainer(nn.Sequential(nn.Linear(15, 2)), nn.SoftmaxCrossEntropy(), backend="numpy")
    with pytest.raises(nn.ShapeError, match=r"\(8, 3, 5\) does not fit the model: .*expects 15 features, got \(3, 5\)"):
        trainer.predict(np.zeros((8, 3, 5)))
    trainer = train.Trainer(nn.Sequential(nn.Flatten(), nn.Linear(15, 2)), nn.SoftmaxCrossEntropy(), backend="numpy")
    with pytest.raises(nn.ShapeError, match=r"Flatten\(axes=2\) expects rows with 2 axes, got rows of shape \(15,\)"):
        trainer.predict(np.zeros((8, 15)))


CATEGORIES = np.array([[0, 2], [1, 0], [0, 1], [2, 2], [1, 1], [0, 0]])
TABLE = np.column_stack([X[:, 0], CATEGORIES[:, 0], X[:, 1:3], CATEGORIES[:, 1], X[:, 3]])  # categories in 1 and 4


def test_embedding_looks_rows_up_and_gives_torchs_gradients(backend: backends.Backend) -> None:
    torch = pytest.importorskip("torch")
    layer = nn.Embedding({1: 3, 4: 3}, features=2)
    parameters = start(layer)
    tables = {name: torch.tensor(value, requires_grad=True) for name, value in parameters.items()}
    looked_up = [
        torch.nn.functional.embedding(torch.tensor(CATEGORIES[:, i]), tables[f"column_{column}"])
        for i, column in enumerate((1, 4))
    ]
    expected = torch.cat([torch.tensor(X), *looked_up], dim=1)
    dy = RNG.normal(size=expected.shape)
    expected.backward(torch.tensor(dy))
    ours = run(backend, layer, parameters, TABLE, dy)
    assert_close(ours["y"], expected.detach().numpy(), factor=1, dtype=np.float64)
    for name, table in tables.items():
        assert_close(ours[name], table.grad.numpy(), factor=4, dtype=np.float64)
    assert_close(
        ours["dx"], np.column_stack([dy[:, 0], 0 * dy[:, 0], dy[:, 1:3], 0 * dy[:, 0], dy[:, 3]]), dtype=np.float64
    )


def test_a_net_learns_what_only_the_categories_tell(backend: backends.Backend) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 5, size=200)
    labels = np.array([0, 1, 1, 0, 1])[codes]
    x = np.column_stack([rng.normal(size=200), codes]).astype(np.float32)
    model = nn.Sequential(nn.Embedding({1: 5}, features=3), nn.Linear(4, 2))
    trainer = train.Trainer(
        model, nn.SoftmaxCrossEntropy(), optim.Adam(0.05), metrics=[train.Accuracy()], backend=backend
    )
    trainer.fit(x, labels, epochs=30, progress=False)
    assert trainer.evaluate(x, labels)["accuracy"] == 1.0


@pytest.mark.parametrize(("value", "said"), [(3.0, "3"), (-1.0, "-1"), (1.5, "1.5")])
@pytest.mark.parametrize(
    "first",
    [(), (nn.Identity(),), (nn.Sequential(nn.Standardize(6, skip=(1, 4))),)],
    ids=["first", "after Identity", "after Standardize"],
)
def test_a_category_out_of_range_is_an_error_and_never_another_category(
    backend: backends.Backend, value: float, said: str, first: tuple[nn.Layer, ...]
) -> None:
    table = TABLE.copy()
    table[2, 4] = value
    model = nn.Sequential(*first, nn.Parallel(nn.Embedding({1: 3, 4: 3}, features=2), nn.Identity()), nn.Linear(14, 2))
    trainer = train.Trainer(model, nn.SoftmaxCrossEntropy(), backend=backend)
    for use in (lambda: trainer.fit(table, np.arange(6) % 2, progress=False), lambda: trainer.predict(table)):
        with pytest.raises(ValueError, match=f"column 4 holds {said}, but Embedding expects categories 0 to 2"):
            use()
    trainer.predict(TABLE)


EMBEDDING = nn.Embedding({1: 3, 4: 3})


@pytest.mark.parametrize(
    "before",
    [
        (nn.Standardize(6),),
        (nn.Standardize(6, skip=(1,)),),
        (nn.Identity(), nn.Dropout(0.1)),
        (nn.GaussianNoise(0.1),),
        (nn.Scale(6),),
        (nn.Linear(6, 6),),
        (nn.Residual(),),
        (nn.Embedding({0: 2}),),
        (nn.Sequential(nn.Identity(), nn.Tanh()),),
        (nn.Parallel(nn.Identity(), nn.Identity()),),
    ],
    ids=repr,
)
@pytest.mark.parametrize("embedding", [EMBEDDING, nn.Sequential(nn.Parallel(nn.ReLU(), EMBEDDING))], ids=["", "nested"])
def test_categories_must_reach_an_embedding_as_they_are(before: tuple[nn.Layer, ...], embedding: nn.Layer) -> None:
    changing = len(before) - 1
    with pytest.raises(ValueError, match=rf"layer {changing + 1}: .*columns \(1, 4\), and layer {changing}, .*skip="):
        nn.Sequential(*before, embedding)


def test_what_leaves_the_categories_alone_may_come_before_an_embedding(backend: backends.Backend) -> None:
    assert nn.Sequential(nn.Identity(), nn.Parallel(nn.Sequential(EMBEDDING, nn.ReLU()), nn.Tanh())).codes == (1, 4)
    plain = nn.Sequential(EMBEDDING, nn.Linear(20, 2))
    with_standardize = nn.Sequential(nn.Flatten(), nn.Standardize(6, skip=(1, 4)), *plain.layers)
    scaled = TABLE.copy()
    numbers = [0, 2, 3, 5]
    scaled[:, numbers] = (TABLE[:, numbers] - TABLE[:, numbers].mean(0)) / TABLE[:, numbers].std(0)
    inside, outside = (
        train.Trainer(model, nn.SoftmaxCrossEntropy(), optim.SGD(0.1), backend=backend, dtype="float64")
        for model in (with_standardize, nn.Sequential(nn.Identity(), nn.Identity(), *plain.layers))
    )
    inside.fit(TABLE.reshape(6, 2, 3), np.arange(6) % 2, epochs=3, progress=False)
    outside.fit(scaled, np.arange(6) % 2, epochs=3, progress=False)
    for name, value in outside.parameters.items():
        assert_close(inside.parameters[name], value, dtype=np.float64)
    wrong = TABLE.copy()
    wrong[2, 4] = 3
    with pytest.raises(ValueError, match="column 4 holds 3, but Embedding expects categories 0 to 2"):
        inside.predict(wrong.reshape(6, 2, 3))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.Residual(nn.Linear(4, 3)), "expects 4 features, got 3"),
        (
            lambda: nn.Sequential(nn.Linear(2, 4), nn.Residual(nn.GLU())),
            "Residual adds its input of 4 features to an output of 2",
        ),
        (lambda: nn.Parallel(), "Parallel needs at least one layer"),
        (lambda: nn.Parallel([nn.ReLU()]), r"write Parallel\(\*layers\)"),  # type: ignore[arg-type]
        (
            lambda: nn.Parallel(nn.Linear(4, 3), nn.Linear(5, 3)).output_features(4),
            "layer 1: .*expects 5 features, got 4",
        ),
        (lambda: nn.Flatten(axes=1), "at least 2"),
        (lambda: nn.Embedding({}), "give each column"),
        (lambda: nn.Embedding({-1: 3}), "give each column from 0 on once"),
        (lambda: nn.Embedding(((1, 3), (1, 4))), "give each column from 0 on once"),
        (lambda: nn.Embedding({1: 0}), "at least 1 category"),
        (lambda: nn.Embedding({3.7: 10}), r"Embedding\({3.7: 10}\): give .*both whole numbers"),  # type: ignore[dict-item]
        (lambda: nn.Embedding({3: 2.5}), "both whole numbers"),
        (lambda: nn.Embedding({"3": 2}), "both whole numbers"),
        (lambda: nn.Embedding(((1, 2, 3),)), "both whole numbers"),
        (lambda: nn.Embedding({1: 3}, features=True), r"Embedding\(features=True\)"),
        (lambda: nn.Flatten(axes=2.0), r"Flatten\(axes=2\.0\)"),  # type: ignore[arg-type]
        (lambda: nn.Embedding(10), "give {column: number of categories}"),  # type: ignore[arg-type]
        (lambda: nn.Embedding({1: 3}, features=0), "whole number of features for each column"),
        (lambda: nn.Embedding({5: 3}).output_features(4), "expects at least 6 features, got 4"),
    ],
)
def test_what_makes_no_sense_is_refused(build: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        build()


def test_containers_and_embeddings_come_back_from_a_file(tmp_path: Any) -> None:
    model = nn.Sequential(
        nn.Embedding({1: 3, 4: 3}), nn.Parallel(nn.Residual(nn.Linear(20, 20)), nn.Identity()), nn.Linear(40, 2)
    )
    trainer = train.Trainer(model, nn.SoftmaxCrossEntropy(), backend="numpy")
    trainer.save(tmp_path / "model")
    loaded = train.Trainer.load(tmp_path / "model", backend="numpy")
    assert loaded.model == model
    np.testing.assert_array_equal(loaded.predict(TABLE), trainer.predict(TABLE))


def test_a_net_with_step_recalls_but_is_not_trained() -> None:
    trainer = train.Trainer(nn.Sequential(nn.Linear(2, 1), nn.Step()), nn.MeanSquaredError(), backend="numpy")
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    with pytest.raises(ValueError, match=r"Step has no gradient: train with Sigmoid"):
        trainer.fit(corners, [0, 0, 0, 1])
    trainer.parameters = {"0.weight": np.ones((2, 1)), "0.bias": np.array([[-1.5]])}
    np.testing.assert_array_equal(trainer.predict(corners), [[0], [0], [0], [1]])
