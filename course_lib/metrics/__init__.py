"""Measuring generated images: how near to real ones, how true, how complete."""

from ..models import Classifier, ClassifierConfig
from .coverage import class_coverage
from .errors import MetricsError
from .evaluation import PROTOCOL, SAMPLES, evaluate, evaluate_model, headline, real_images
from .frechet import frechet_distance, frechet_of_gaussians
from .operations import count_operations
from .precision_recall import precision_recall
from .sampling import draw, sampling_options

__all__ = [
    "PROTOCOL",
    "SAMPLES",
    "Classifier",
    "ClassifierConfig",
    "MetricsError",
    "class_coverage",
    "count_operations",
    "draw",
    "evaluate",
    "evaluate_model",
    "frechet_distance",
    "frechet_of_gaussians",
    "headline",
    "precision_recall",
    "real_images",
    "sampling_options",
]
