"""One training loop for the course, and the recipes of the shipped models."""

from .errors import SettingsError
from .loop import Interrupted, TrainConfig, fit
from .recipes import RECIPES, Recipe

__all__ = ["RECIPES", "Interrupted", "Recipe", "SettingsError", "TrainConfig", "fit"]
