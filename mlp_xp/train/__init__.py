"""The training loop and what surrounds it: metrics, callbacks, history, files."""

from .callbacks import Callback, CSVLog, EarlyStopping, ProgressBar
from .history import History
from .metrics import Accuracy, Metric
from .rollback import Diverged
from .trainer import Trainer

__all__ = [
    "Accuracy",
    "CSVLog",
    "Callback",
    "Diverged",
    "EarlyStopping",
    "History",
    "Metric",
    "ProgressBar",
    "Trainer",
]
