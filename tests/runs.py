"""Run folders as training leaves them, small and quickly made."""

from pathlib import Path
from typing import Any

from mlp_xp import data, nn, optim, train


def spiral(folder: Path, rate: float = 0.05, epochs: int = 30, snapshots: bool = True, **more: Any) -> train.Trainer:
    """Three classes of two features, recorded."""
    X, y, X_test, y_test = data.spiral()
    model = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 3))
    trainer = train.Trainer(
        model, nn.SoftmaxCrossEntropy(), optim.Adam(rate), metrics=[train.Accuracy()], backend="numpy"
    )
    recorder = train.Recorder(snapshots=snapshots)
    options: dict[str, Any] = {"validation_data": (X_test, y_test), "callbacks": [recorder], "progress": False}
    trainer.fit(X, y, epochs=epochs, batch_size=None, **options)
    metrics = {f"test_{name}": value for name, value in trainer.evaluate(X_test, y_test).items()}
    about: dict[str, Any] = {"title": "Three spirals", "data": {"name": "three spirals"}, "metrics": metrics} | more
    train.save_run(folder, trainer, recording=recorder.recording, training=(X, y), test=(X_test, y_test), **about)
    return trainer


def tumours(folder: Path) -> train.Trainer:
    """Two classes with names, two outputs, several metrics, no validation data."""
    X, y = data.wdbc()
    model = nn.Sequential(nn.Standardize(30), nn.Linear(30, 8), nn.Tanh(), nn.Linear(8, 2))
    metrics = [train.Accuracy(), train.F1()]
    trainer = train.Trainer(model, nn.SoftmaxCrossEntropy(), optim.Adam(0.003), metrics=metrics, backend="numpy")
    recorder = train.Recorder()
    trainer.fit(X[:400], y[:400], epochs=4, batch_size=50, callbacks=[recorder], progress=False)
    about: dict[str, Any] = {"title": "Tumours", "data": {"classes": ["benign", "malignant"]}}
    sets: dict[str, Any] = {"training": (X[:400], y[:400]), "test": (X[400:], y[400:])}
    train.save_run(folder, trainer, recording=recorder.recording, **sets, **about)
    return trainer


def xor(folder: Path) -> train.Trainer:
    """Two classes and one output, a logit; neither recorded nor validated."""
    X, y = data.xor()
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
    trainer = train.Trainer(model, nn.SigmoidBinaryCrossEntropy(), optim.Adam(0.05), backend="numpy")
    trainer.fit(X, y, epochs=100, batch_size=None, progress=False)
    train.save_run(folder, trainer, title="XOR", training=(X, y), test=(X, y))
    return trainer
