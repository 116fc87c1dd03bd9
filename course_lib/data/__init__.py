"""The images that the course learns from, and what is done to them."""

from .degradation import (
    bicubic_kernel,
    crop_to_multiple,
    degrade,
    downscale,
    matlab_uint8,
    quantize,
    resize,
    resize_weights,
    upscale,
)
from .examples import EXAMPLES, example
from .measured import MEASURED, measured
from .photographs import PhotoPatches, photographs
from .reading import ImageError, UserImage, read_image, to_image, to_tensor, with_alpha
from .small import CLASS_NAMES, DATASETS, SPLITS, DataError, LabelledImages, cache_folder, load

__all__ = [
    "CLASS_NAMES",
    "DATASETS",
    "EXAMPLES",
    "MEASURED",
    "SPLITS",
    "DataError",
    "ImageError",
    "LabelledImages",
    "PhotoPatches",
    "UserImage",
    "bicubic_kernel",
    "cache_folder",
    "crop_to_multiple",
    "degrade",
    "downscale",
    "example",
    "load",
    "matlab_uint8",
    "measured",
    "photographs",
    "quantize",
    "read_image",
    "resize",
    "resize_weights",
    "to_image",
    "to_tensor",
    "upscale",
    "with_alpha",
]
