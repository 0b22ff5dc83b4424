"""What can be chosen by a word: every word means something, and one thing only."""

from typing import Any

import numpy as np
import pytest

from mlp_xp import catalogue, nn, optim


@pytest.mark.parametrize("word", catalogue.ACTIVATIONS)
def test_every_activation_is_a_layer_that_works_on_each_number_by_itself(word: str) -> None:
    layer = catalogue.activation(word)
    assert type(layer) is catalogue.ACTIVATIONS[word] and layer.differentiable
    x = np.linspace(-3, 3, 12).reshape(3, 4)
    p = nn.Layout(layer).nest(nn.Layout(layer).initial(0))
    y, _ = layer.forward(np, p, x, nn.Context())
    by_itself = [layer.forward(np, p, number.reshape(1, 1), nn.Context())[0].item() for number in x.flat]
    assert y.shape == x.shape
    np.testing.assert_allclose(y.ravel(), by_itself, rtol=1e-14)


@pytest.mark.parametrize("word", catalogue.INITIALIZERS)
def test_every_initializer_has_defaults_and_draws_numbers_of_the_size_that_suits_the_fans(word: str) -> None:
    init = catalogue.INITIALIZERS[word]()
    drawn = init.draw(np.random.default_rng(0), (400, 200), 400, 200)
    assert drawn.shape == (400, 200) and abs(drawn.mean()) < 1e-3
    # From the variance 1 / (3 n) of FanInUniform to the 2 / n of He
    assert 0.9 / 3 < 400 * drawn.var() < 1.1 * 2


@pytest.mark.parametrize("word", catalogue.OPTIMIZERS)
def test_every_optimizer_takes_a_learning_rate(word: str) -> None:
    optimizer = catalogue.OPTIMIZERS[word](0.125)
    assert isinstance(optimizer, optim.Optimizer)
    assert optimizer.learning_rate(0) == 0.125


def test_every_activation_and_first_order_optimizer_can_be_chosen() -> None:
    def public(room: Any, base: type) -> set[type]:
        kinds = {getattr(room, name) for name in room.__all__ if isinstance(getattr(room, name), type)}
        return {kind for kind in kinds if issubclass(kind, base)}

    files = {"activations", "rectifiers", "gates"}
    elementwise = {kind for kind in public(nn, nn.Layer) if kind.__module__.rpartition(".")[2] in files}
    assert set(catalogue.ACTIVATIONS.values()) == elementwise - {nn.Step, nn.GLU}  # not trained; halves the features
    first_order = public(optim, optim.FirstOrder) - {optim.FirstOrder}
    assert {type(build(0.1)) for build in catalogue.OPTIMIZERS.values()} == first_order


def test_every_initializer_can_be_chosen_that_needs_no_numbers_and_lets_units_differ() -> None:
    public = {getattr(nn, name) for name in nn.__all__ if isinstance(getattr(nn, name), type)}
    initializers = {kind for kind in public if issubclass(kind, nn.Initializer)} - {nn.Initializer}
    need_numbers = {nn.Uniform, nn.Normal, nn.Constant}
    for_few = {nn.Zeros, nn.IdentityMatrix, nn.Sparse}  # units alike, units like the inputs, a size without fans
    assert set(catalogue.INITIALIZERS.values()) == initializers - need_numbers - for_few
    assert all(word == kind.__name__.lower() for word, kind in catalogue.INITIALIZERS.items())


def test_a_word_means_one_thing_only() -> None:
    words = [*catalogue.ACTIVATIONS, *catalogue.OPTIMIZERS, *catalogue.INITIALIZERS]
    assert len(words) == len(set(words))
    assert words == [word.lower() for word in words]
    names = {kind.__name__ for kind in catalogue.ACTIVATIONS.values()}
    assert len(catalogue.ACTIVATIONS) == len(names) + 1  # "logistic" is another word for Sigmoid
    built = [build(0.1) for build in catalogue.OPTIMIZERS.values()]
    assert len(set(built)) == len(built)


def test_an_activation_is_chosen_by_a_word_or_given() -> None:
    own = nn.LeakyReLU(0.3)
    assert catalogue.activation(own) is own
    assert catalogue.activation("relu") == catalogue.activation("ReLU") == nn.ReLU()
    assert catalogue.activation("relu") is not catalogue.activation("relu")
    # the words of scikit-learn
    assert catalogue.activation("logistic") == nn.Sigmoid()
    assert catalogue.activation("identity") == nn.Identity()
    assert catalogue.activation("tanh") == nn.Tanh()


@pytest.mark.parametrize(
    ("chosen", "error", "message"),
    [
        ("geluu", ValueError, "unknown activation 'geluu'; did you mean 'gelu'\\?"),
        (nn.GELU, TypeError, r"activation=<class .*such as nn\.GELU\(\)"),
        (nn.HeNormal(), TypeError, r"activation=HeNormal.*a word such as 'relu', or a layer such as nn\.ReLU\(\)"),
        (None, TypeError, "activation=None"),
    ],
)
def test_what_is_no_activation_is_refused(chosen: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        catalogue.activation(chosen)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.ReLU(), nn.HeNormal()),
        (nn.GELU(approximate=True), nn.HeNormal()),
        (nn.SELU(), nn.LeCunNormal()),
        (nn.Sigmoid(beta=2.0), nn.GlorotNormal()),
        (nn.Tanh(), nn.GlorotNormal()),
        (nn.HardTanh(), nn.GlorotNormal()),
        (nn.Identity(), nn.GlorotNormal()),
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_the_weights_start_as_suits_the_activation(layer: nn.Layer, expected: nn.Initializer) -> None:
    assert catalogue.suitable_init(layer) == expected


def test_the_scripts_offer_what_is_in_the_catalogue() -> None:
    import common

    assert common.ACTIVATIONS is catalogue.ACTIVATIONS
    assert common.OPTIMIZERS is catalogue.OPTIMIZERS
    assert common.INITIALIZERS is catalogue.INITIALIZERS
    parser = common.options("", "", data="", activation="selu", layers=[3])
    model = common.multilayer(parser.parse_args([]), 2, 1)
    suitable = {"weight_init": nn.LeCunNormal()}
    assert model == nn.Sequential(nn.Linear(2, 3, **suitable), nn.SELU(), nn.Linear(3, 1, **suitable))
    model = common.multilayer(parser.parse_args(["--init", "Orthogonal", "--bias", "0.5"]), 2, 1)
    chosen = {"weight_init": nn.Orthogonal(), "bias_init": nn.Constant(0.5)}
    assert model == nn.Sequential(nn.Linear(2, 3, **chosen), nn.SELU(), nn.Linear(3, 1, **chosen))
