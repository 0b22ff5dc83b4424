"""Pictures of training and of what was learned. Needs matplotlib (extra `plot`)."""

from .boundary import decision_boundary
from .curves import learning_curves
from .learning_rates import learning_rates
from .style import require_matplotlib

__all__ = ["decision_boundary", "learning_curves", "learning_rates", "require_matplotlib"]
