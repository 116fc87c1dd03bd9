"""What the tests of the metrics share: two classifiers and a model that draws real images."""

import functools

import pytest
import torch
from torch import nn

from course_lib import data
from course_lib.metrics import ClassifierConfig


class Ruler(nn.Module):
    """A 'classifier' to calculate with by hand: four sums of pixels, and the largest one wins."""

    def __init__(self):
        super().__init__()
        self.config = ClassifierConfig(feature_dim=4)
        self.head = nn.Linear(4, 10)
        with torch.no_grad():
            self.head.weight.zero_()[:4] = torch.eye(4)
            self.head.bias.fill_(-1e3)[:4] = 0

    def features(self, images: torch.Tensor) -> torch.Tensor:
        quarters = images[:, 0].unflatten(2, (2, 14)).unflatten(1, (2, 14))
        return quarters.mean((2, 4)).flatten(1)


class Copier(nn.Module):
    """A 'generative model' that draws from given images and notes how it was called."""

    def __init__(self, images: torch.Tensor):
        super().__init__()
        self.images, self.calls, self.inference = images, [], []

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> torch.Tensor:
        self.calls.append(n)
        self.inference.append(torch.is_inference_mode_enabled())
        return self.images[torch.randint(len(self.images), (n,), generator=generator)]


class SteppedCopier(Copier):
    """The same with the options of a diffusion model."""

    def sample(self, n: int, *, generator=None, sampler: str = "ddim", steps: int = 50):
        if sampler not in ("ddim", "ddpm"):
            raise ValueError(f"unknown sampler {sampler!r}")
        self.options = (sampler, steps)
        return super().sample(n, generator=generator)


@pytest.fixture(autouse=True)
def load_once(monkeypatch):
    """Unpack the images that ship once, for all tests."""
    monkeypatch.setattr(data, "load", load)


load = functools.cache(data.load)


@pytest.fixture
def ruler() -> Ruler:
    return Ruler().eval()


@pytest.fixture
def copier(train_images) -> Copier:
    return Copier(train_images)


@pytest.fixture
def stepped_copier(train_images) -> SteppedCopier:
    return SteppedCopier(train_images)
