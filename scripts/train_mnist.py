"""Read handwritten digits (MNIST, 60,000 + 10,000 images of 28 x 28 pixels), or tell clothes apart (Fashion-MNIST)."""

from typing import Any

import numpy as np
from common import Run, multilayer, new_trainer, options, run_script
from sklearn.metrics import confusion_matrix

from mlp_xp import data, nn

PRESETS: dict[str, dict[str, Any]] = {
    # 784-800-10 with cross-entropy, 1.6 % test error (Simard, Steinkraus and Platt, 2003)
    "800": {"layers": [800], "optimizer": "nesterov", "lr": 0.1, "schedule": "cosine", "epochs": 20},
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
        __doc__ + " Measures the test set after every epoch, to look at; nothing is chosen by it.",
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
        help="the settings of a published net, which other options change: 800 is 784-800-10 (1.6 %% test error), "
        "dropout is 3 x 1024 with dropout and max-norm (1.06 %%)",
    )
    preset = parser.parse_known_args(argv)[0].preset
    parser.set_defaults(**PRESETS.get(preset, {}))
    args = parser.parse_args(argv)
    images = data.fashion_mnist if args.fashion else data.mnist
    train_images, y_train, test_images, y_test = images(args.data)
    X_train, X_test = (x.reshape(len(x), -1).astype(args.dtype) / 255 for x in (train_images, test_images))

    trainer = new_trainer(args, multilayer(args, 784, 10), nn.SoftmaxCrossEntropy(), len(X_train))
    run = Run(args, trainer, (X_train, y_train), (X_test, y_test), validation=(X_test, y_test))
    run.fit()

    predicted = np.argmax(trainer.predict(X_test), axis=1)
    run.metrics |= {
        "data": "Fashion-MNIST" if args.fashion else "MNIST",
        "preset": preset,
        "parameters": trainer.layout.count,
        "confusion_matrix": confusion_matrix(y_test, predicted).tolist(),
    }
    run.save()
    run.report()


if __name__ == "__main__":
    run_script(main)
