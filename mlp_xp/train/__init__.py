"""The training loop and what surrounds it: metrics, callbacks, history, files."""

from .callbacks import Callback, CSVLog, EarlyStopping, ProgressBar
from .classification import F1, Accuracy, BalancedAccuracy, ConfusionMatrix, Precision, Recall, TopKAccuracy
from .history import History
from .learning_rate_search import LearningRateSearch, find_learning_rate
from .metrics import Mean, Metric
from .plateau import ReduceOnPlateau
from .probabilities import Brier, LogLoss, RocAuc
from .regression import MAE, R2, RMSE
from .rollback import Diverged
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
    "ReduceOnPlateau",
    "RocAuc",
    "TopKAccuracy",
    "Trainer",
    "find_learning_rate",
]
