"""SRDiff as its authors' configuration computes it, at a tiny size with random weights."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from course_lib.upscaling import SRDiff, SRDiffConfig

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def golden() -> dict[str, torch.Tensor]:
    """What the authors' configuration computes; the state dict's keys begin with ``sd/``."""
    with np.load(DATA / "srdiff_tiny.npz") as arrays:
        return {
            name: torch.from_numpy(values)
            for name, values in arrays.items()
            if values.dtype.kind != "U"
        }


@pytest.fixture(scope="session")
def golden_state(golden) -> dict[str, torch.Tensor]:
    """The state dict of the golden model."""
    return {key[3:]: value for key, value in golden.items() if key.startswith("sd/")}


@pytest.fixture
def tiny_srdiff() -> Callable[..., SRDiff]:
    """Build a tiny SRDiff, the same every time; options replace the config's."""

    def build(**options) -> SRDiff:
        config = {"hidden": 8, "multipliers": (1, 2), "encoder_blocks": 3, "encoder_features": 8}
        with torch.random.fork_rng():
            torch.manual_seed(3)
            return SRDiff(SRDiffConfig(**(config | options))).eval()

    return build


@pytest.fixture
def tiny_embedded(tiny_srdiff) -> Callable[..., SRDiff]:
    """Build a tiny SRDiff of the kind that ships."""
    kind = {"encoder": "residual", "denoiser": "compact", "base": "encoder", "prediction": "x0"}
    return lambda **options: tiny_srdiff(**(kind | options))


@pytest.fixture
def golden_srdiff(tiny_srdiff, golden_state) -> SRDiff:
    """The model of the golden arrays."""
    model = tiny_srdiff()
    model.load_state_dict(golden_state)
    return model
