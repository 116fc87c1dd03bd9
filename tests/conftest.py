"""What all tests share: one thread, fixed examples, tiny models, real subprocesses."""

import os

# Before torch is loaded: on few cores, spinning threads cost more than they bring.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("ACCELERATE_USE_CPU", "true")
os.environ.setdefault("MPLBACKEND", "agg")

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from course_lib import data, weights
from course_lib.models import VAE, Classifier, VAEConfig

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

torch.set_num_threads(1)
settings.register_profile("course", deadline=None, derandomize=True, max_examples=40, database=None)
settings.load_profile("course")


def subprocess_environment() -> dict[str, str]:
    """The environment of a user's shell, with one thread and a wide, colourless terminal."""
    return os.environ | {
        "OMP_NUM_THREADS": "1",
        "NO_COLOR": "1",
        "TERM": "dumb",
        "COLUMNS": "250",
        "PYTHONWARNINGS": "ignore",
    }


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    return subprocess_environment()


@pytest.fixture(scope="session")
def course_cli() -> Callable[..., subprocess.CompletedProcess]:
    """Run ``course-lib ARGUMENTS`` as a user does, in a process of its own."""

    def run(
        *arguments: object, cwd: Path | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "course_lib.cli", *map(str, arguments)],
            cwd=cwd,
            env=subprocess_environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run


@pytest.fixture(scope="session")
def skip_or_fail() -> Callable[[str], None]:
    """Skip on a reader's machine; fail where COURSE_REQUIRE_BROWSER asks for every test."""
    return pytest.fail if os.environ.get("COURSE_REQUIRE_BROWSER") else pytest.skip


@pytest.fixture(scope="session")
def browser_type_launch_args(skip_or_fail) -> dict:
    """Drive the Chromium of the system rather than one that Playwright downloads."""
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        skip_or_fail("no Chromium found: `make browser` installs Debian's")
    return {
        "executable_path": executable,
        "args": [
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ],
    }


@pytest.fixture
def tiny_vae() -> Callable[..., VAE]:
    """Build a VAE with a few hundred weights, in double precision, the same every time."""

    def build(likelihood: str = "bernoulli", *, latent_dim: int = 2, beta: float = 1.0) -> VAE:
        with torch.random.fork_rng():
            torch.manual_seed(7)
            model = VAE(
                VAEConfig(
                    latent_dim=latent_dim,
                    channels=(2, 3, 4),
                    likelihood=likelihood,
                    beta=beta,
                )
            ).double()
        with torch.no_grad():  # so that latents matter, and the posterior is not the prior
            for parameter in model.decoder.parameters():
                parameter.mul_(2)
        return model.requires_grad_(False).eval()

    return build


@pytest.fixture(scope="session")
def test_images() -> torch.Tensor:
    """The 2,000 test images that ship with the package, (2000, 1, 28, 28), float32."""
    return data.load(split="test").images


@pytest.fixture(scope="session")
def train_images() -> torch.Tensor:
    """The 12,000 training images that ship with the package."""
    return data.load(split="train").images


@pytest.fixture(scope="session")
def shipped() -> Classifier:
    """The classifier that ships."""
    return weights.load("classifier")


@pytest.fixture
def displayed(monkeypatch) -> list:
    """Collect what a chapter's cell would display."""
    import IPython.display

    shown: list = []
    monkeypatch.setattr(IPython.display, "display", lambda thing, **_: shown.append(thing))
    return shown


@pytest.fixture(scope="session")
def tiny_latent():
    """A latent upscaler with random weights, whose autoencoder passes mean colours on."""
    from course_lib.upscaling.latent import (
        LatentDiffusion,
        LatentDiffusionConfig,
        LatentUpscaler,
        start,
    )

    torch.manual_seed(0)
    config = LatentDiffusionConfig(
        autoencoder=(16, 16, 16),
        channels=(16, 32),
        words=("a", "coat", "sandal"),
        text_width=16,
        text_layers=1,
        text_length=8,
    )
    model = LatentDiffusion(config).eval()
    start.begin_with_means(model.vae)
    return LatentUpscaler(model.pipeline(), steps=1)
