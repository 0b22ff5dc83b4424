"""The training loop and what surrounds it: metrics, callbacks, history, files."""

from .callbacks import Callback, CSVLog, EarlyStopping, ProgressBar
from .classification import F1, Accuracy, BalancedAccuracy, ConfusionMatrix, Precision, Recall, TopKAccuracy
from .history import History
from .inspection import inspect
from .learning_rate_search import LearningRateSearch, find_learning_rate
from .metrics import Mean, Metric
from .plateau import ReduceOnPlateau
from .probabilities import Brier, LogLoss, RocAuc
from .recorder import Recorder
from .recording import Recording, Snapshot
from .regression import MAE, R2, RMSE
from .rollback import Diverged
from .run_folder import save_run
from .trainer import Trainer

__all__ = [
    "F1",
    "MAE",
    "R2",
    "RMSE",
    "Accuracy",
    "BalancedAccuracy",
    "Brier",
    "CSVLog",
    "Callback",
    "ConfusionMatrix",
    "Diverged",
    "EarlyStopping",
    "History",
    "LearningRateSearch",
    "LogLoss",
    "Mean",
    "Metric",
    "Precision",
    "ProgressBar",
    "Recall",
    "Recorder",
    "Recording",
    "ReduceOnPlateau",
    "RocAuc",
    "Snapshot",
    "TopKAccuracy",
    "Trainer",
    "find_learning_rate",
    "inspect",
    "save_run",
]
