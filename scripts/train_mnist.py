"""Read handwritten digits (MNIST, 60,000 + 10,000 images of 28 x 28 pixels), or tell clothes apart (Fashion-MNIST)."""

from typing import Any

import numpy as np
from common import Run, multilayer, new_trainer, options, run_script
from sklearn.metrics import confusion_matrix

from mlp_xp import data, nn, train, viz

CLOTHES = "T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"

WIDE: dict[str, Any] = {
    "layers": [784, 1024, 2048, 1024, 784],
    "init": "glorotnormal",
    "lr": 0.001,
    "batch_size": 512,
    "epochs": 50,
}
PRESETS: dict[str, dict[str, Any]] = {
    # five narrow hidden layers, to watch how the weights grow
    "deep-narrow": {
        "layers": [64] * 5,
        "standardize": True,
        "legacy_weights": True,
        "seed": 1234,
        "bias": 1.0,
        "optimizer": "sgd",
        "lr": 0.1,
        "batch_size": 3000,
        "no_shuffle": True,
        "epochs": 100,
        "dtype": "float64",
    },
    # 6.4 million parameters, with the plainest optimizer and with Adam
    "wide-sgd": WIDE | {"optimizer": "sgd"},
    "wide-adam": WIDE | {"optimizer": "adam"},
    # 784-800-10 with cross-entropy, 1.6 % test error (Simard, Steinkraus and Platt, 2003)
    "784-800-10": {"layers": [800], "optimizer": "nesterov", "lr": 0.1, "schedule": "cosine", "epochs": 20},
    # 3 x 1024 with dropout and max-norm, 1.06 % test error (Srivastava et al., 2014, table 2)
    "dropout": {
        "layers": [1024, 1024, 1024],
        "dropout": 0.5,
        "input_dropout": 0.2,
        "max_norm": 3.0,
        "optimizer": "adam",
        "lr": 0.001,
        "schedule": "cosine",
        "epochs": 30,
    },
}


def main(argv: list[str] | None = None) -> None:
    parser = options(
        __doc__ + " Prints loss and accuracy; the test set is measured after every epoch, to look at, and nothing is "
        "chosen by it. With --out also draws how the weights of each layer grow, what the units of the first layer "
        "look for, the confusion matrix, and the images that the net is most wrong about.",
        "python scripts/train_mnist.py --layers 512 512 --epochs 5 --out runs/mnist",
        layers=[256, 128],
        activation="relu",
        optimizer="adam",
        lr=0.001,
        batch_size=128,
        epochs=5,
        data="folder with the IDX files (default: MLP_XP_DATA, the user's cache, else they are downloaded)",
    )
    parser.add_argument("--fashion", action="store_true", help="Fashion-MNIST instead of MNIST")
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        help="the settings of a known experiment, which other options change: deep-narrow (five hidden layers of 64, "
        "100 epochs, float64), wide-sgd and wide-adam (784-1024-2048-1024-784, 50 epochs), 784-800-10 (published: "
        "1.6 %% test error), dropout (3 x 1024 with dropout and max-norm, published: 1.06 %%)",
    )
    parser.add_argument("--standardize", action="store_true", help="scale every pixel to mean 0 and deviation 1")
    parser.add_argument(
        "--legacy-weights",
        action="store_true",
        help="draw the weights, where there is no --init, as known experiments did: N(0, 2 / inputs), layer by layer, "
        "from numpy.random.RandomState(seed)",
    )
    preset = parser.parse_known_args(argv)[0].preset
    parser.set_defaults(**PRESETS.get(preset, {}))
    args = parser.parse_args(argv)
    images = data.fashion_mnist if args.fashion else data.mnist
    train_images, y_train, test_images, y_test = images(args.data)
    X_train, X_test = (x.reshape(len(x), -1).astype(args.dtype) / 255 for x in (train_images, test_images))

    model = multilayer(args, 784, 10, standardize=args.standardize)
    trainer = new_trainer(args, model, nn.SoftmaxCrossEntropy(), len(X_train))
    if args.legacy_weights and not args.init:
        trainer.adapt(X_train)  # the scaling, which the weights leave as it is
        trainer.parameters = legacy_weights(trainer)
    name = "Fashion-MNIST" if args.fashion else "MNIST"
    run = Run(args, trainer, (X_train, y_train), (X_test, y_test), validation=(X_test, y_test))
    run.title = f"{name}, {preset or '-'.join(map(str, [784, *args.layers, 10]))}"
    names = CLOTHES if args.fashion else tuple("0123456789")
    run.data = {"name": name, "pixels": "divided by 255", "classes": ", ".join(names), "validation": "the test set"}
    run.fit()

    outputs = trainer.predict(X_test)
    confusion = confusion_matrix(y_test, np.argmax(outputs, axis=1), labels=range(10))
    run.metrics |= {
        "data": name,
        "preset": preset,
        "parameters": trainer.layout.count,
        "confusion_matrix": confusion.tolist(),
        "weight_growth": weight_growth(run),
    }
    run.save()
    if run.out:
        viz.weight_growth(run.recorder.recording, run.out / "weight_growth.png")
        viz.first_layer_features(first_weight(trainer), run.out / "first_layer_features.png")
        viz.confusion_matrix(confusion, run.out / "confusion_matrix.png", names)
        viz.worst_examples(test_images, y_test, outputs, run.out / "worst_examples.png", names=names)
    run.report()


def legacy_weights(trainer: train.Trainer) -> dict[str, np.ndarray]:
    """The trainer's parameters, with weights from NumPy's legacy generator."""
    generator = np.random.RandomState(trainer.seed)
    return {
        name: generator.normal(0, np.sqrt(2 / len(value)), value.shape) if name.endswith("weight") else value
        for name, value in trainer.parameters.items()
    }


def weight_growth(run: Run) -> dict[str, float]:
    """Mean |W| of each weight matrix over what it was at the start; nothing where --out is not given."""
    recorded = run.recorder.recording.of_parameters("mean_abs")
    return {name: values[-1] / values[0] for name, values in recorded.items() if name.endswith("weight")}


def first_weight(trainer: train.Trainer) -> np.ndarray:
    """The weights (in, out) of the first layer, those that evaluate and predict compute with."""
    parameters = trainer.inference_parameters
    return next(value for name, value in parameters.items() if name.endswith("weight"))


if __name__ == "__main__":
    run_script(main)
