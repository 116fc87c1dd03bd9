"""Two real processes train as one does."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from course_lib import data
from course_lib.models import Autoencoder
from course_lib.training import RECIPES, fit
from course_lib.training.checkpoint import STATE


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_same_total_batch(tmp_path, environment):
    """The autoencoder's loss has no noise, so that only rounding may differ.

    Each process takes half of every batch, and the mean of their gradients is the
    gradient of the whole batch.
    """
    command = [
        *(sys.executable, "-m", "accelerate.commands.launch"),
        *("--cpu", "--num_processes", "2", "--num_machines", "1"),
        *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"),
        *("--module", "course_lib.cli", "train", "autoencoder", "--quiet"),
        *("--steps", "3", "--batch-size", "8", "--output", str(tmp_path)),
    ]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("weights and card are in") == 1  # said by one process only
    assert (tmp_path / "autoencoder.safetensors").exists()
    state = torch.load(tmp_path / STATE, weights_only=True)
    assert state["step"] == 3

    torch.manual_seed(0)
    model = RECIPES["autoencoder"].build()
    assert isinstance(model, Autoencoder)
    start = {key: value.clone() for key, value in model.state_dict().items()}
    config = replace(RECIPES["autoencoder"].config, steps=3, batch_size=8)
    fit(model, data.load().images, config, quiet=True)
    for key, value in model.state_dict().items():
        assert torch.allclose(state["model"][key], value, atol=1e-5), key
    moved = max((model.state_dict()[k] - start[k]).abs().max() for k in start)
    assert moved > 1e-3
