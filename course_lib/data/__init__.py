"""The images that the course learns from."""

from .small import CLASS_NAMES, DATASETS, SPLITS, DataError, LabelledImages, cache_folder, load

__all__ = [
    "CLASS_NAMES",
    "DATASETS",
    "SPLITS",
    "DataError",
    "LabelledImages",
    "cache_folder",
    "load",
]
