"""Measuring images: generated ones as a whole, upscaled ones each against its original."""

from ..models import Classifier, ClassifierConfig
from .consistency import lr_psnr
from .coverage import class_coverage
from .errors import MetricsError
from .evaluation import PROTOCOL, SAMPLES, evaluate, evaluate_model, headline, real_images
from .fidelity import luma, psnr, ssim
from .frechet import frechet_distance, frechet_of_gaussians
from .guidance import (
    GUIDANCE_PROTOCOL,
    class_consistency,
    guidance_table,
    option_effects,
    reconstruction,
)
from .operations import count_operations
from .perceptual import PerceptualDistance, feature_distance, lpips, perceptual
from .precision_recall import precision_recall
from .sampling import draw, draws, sampling_options
from .sharpness import gradient_ratio, mean_gradient, radial_spectrum
from .small_upscaling import SMALL_PROTOCOL, measure_small_model, measure_small_upscaling
from .super_resolution import SR_PROTOCOL, measure_upscaler

__all__ = [
    "GUIDANCE_PROTOCOL",
    "PROTOCOL",
    "SAMPLES",
    "SMALL_PROTOCOL",
    "SR_PROTOCOL",
    "Classifier",
    "ClassifierConfig",
    "MetricsError",
    "PerceptualDistance",
    "class_consistency",
    "class_coverage",
    "count_operations",
    "draw",
    "draws",
    "evaluate",
    "evaluate_model",
    "feature_distance",
    "frechet_distance",
    "frechet_of_gaussians",
    "gradient_ratio",
    "guidance_table",
    "headline",
    "lpips",
    "lr_psnr",
    "luma",
    "mean_gradient",
    "measure_small_model",
    "measure_small_upscaling",
    "measure_upscaler",
    "option_effects",
    "perceptual",
    "precision_recall",
    "psnr",
    "radial_spectrum",
    "real_images",
    "reconstruction",
    "sampling_options",
    "ssim",
]
