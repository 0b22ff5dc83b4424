"""Tell malignant from benign breast tumours (WDBC: 569 patients, 30 features), from data in the package."""

import numpy as np
from common import Run, multilayer, new_trainer, options, run_script
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from sklearn.model_selection import train_test_split

from mlp_xp import data, nn, train


def main(argv: list[str] | None = None) -> None:
    parser = options(
        __doc__ + " Splits it into training, validation and test data, stops when the validation loss no longer falls, "
        "and prints accuracy, precision, recall and the confusion matrix of the test data.",
        "python scripts/train_wdbc.py --layers 24 24 24 --activation sigmoid --out runs/wdbc",
        layers=[8],  # a few hundred patients are soon learned by heart
        activation="tanh",
        optimizer="adam",
        lr=0.003,
        batch_size=32,
        epochs=200,
        data="a file in the format of the original data set (default: the one in the package)",
    )
    args = parser.parse_args(argv)
    X, y = data.wdbc(args.data)
    X_rest, X_test, y_rest, y_test = train_test_split(X, y, test_size=0.2, stratify=y, random_state=args.seed)
    X_train, X_val, y_train, y_val = train_test_split(
        X_rest, y_rest, test_size=0.15, stratify=y_rest, random_state=args.seed
    )

    model = multilayer(args, 30, 2, standardize=True)
    trainer = new_trainer(args, model, nn.SoftmaxCrossEntropy(), len(X_train))
    run = Run(args, trainer, (X_train, y_train), (X_test, y_test), validation=(X_val, y_val))
    stopping = train.EarlyStopping(patience=20)
    run.fit([stopping])

    predicted = np.argmax(trainer.predict(X_test), axis=1)
    precision, recall, f1, _ = precision_recall_fscore_support(y_test, predicted, average="binary", zero_division=0)
    confusion = confusion_matrix(y_test, predicted, labels=[0, 1])
    run.metrics |= {
        "best_epoch": stopping.best_epoch,
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "confusion_matrix": confusion.tolist(),
    }
    run.save()
    run.report()
    if not args.quiet:
        print(f"        precision {precision:.4f}, recall {recall:.4f}, F1 {f1:.4f} (of malignant)")
        print(f"        benign    {confusion[0, 0]:3} right, {confusion[0, 1]:2} taken for malignant")
        print(f"        malignant {confusion[1, 1]:3} right, {confusion[1, 0]:2} taken for benign")


if __name__ == "__main__":
    run_script(main)
