"""Pictures of training and of what was learned. Needs matplotlib, and plotly for what moves (extra `plot`)."""

from .animation import boundary_animation, boundary_figure
from .boundary import decision_boundary, decision_boundary_panels
from .classification import confusion_matrix, roc_and_precision_recall, worst_examples
from .curves import learning_curves
from .diagram import network_diagram
from .features import first_layer_features
from .landscape import Landscape, landscape, loss_contour, loss_surface
from .layers import layer_profile, layer_statistics, weight_growth
from .learning_rates import learning_rates
from .panels import learning_curve_panels, loss_contour_panels
from .report import write_report
from .style import require_matplotlib, require_plotly

__all__ = [
    "Landscape",
    "boundary_animation",
    "boundary_figure",
    "confusion_matrix",
    "decision_boundary",
    "decision_boundary_panels",
    "first_layer_features",
    "landscape",
    "layer_profile",
    "layer_statistics",
    "learning_curve_panels",
    "learning_curves",
    "learning_rates",
    "loss_contour",
    "loss_contour_panels",
    "loss_surface",
    "network_diagram",
    "require_matplotlib",
    "require_plotly",
    "roc_and_precision_recall",
    "weight_growth",
    "worst_examples",
    "write_report",
]
