"""The scikit-learn face: MLPClassifier and MLPRegressor, which follow the arrays they are given."""

try:
    import sklearn as _  # noqa: F401
except ImportError as error:
    raise ImportError(f"mlp_xp.estimators needs scikit-learn: pip install 'mlp-xp[sklearn]' ({error})") from error

from .classifier import MLPClassifier
from .exchange import from_sklearn
from .regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "from_sklearn"]
