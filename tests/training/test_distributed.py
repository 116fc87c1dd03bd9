"""Two real processes train as one does."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from course_lib import data
from course_lib.models import GAN, WGAN, Autoencoder, GANConfig, WGANConfig
from course_lib.training import RECIPES, TrainConfig, fit
from course_lib.training.checkpoint import LOG, STATE
from course_lib.training.order import batch_indices, step_generator
from course_lib.upscaling import SRDiff, SRDiffConfig


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_same_total_batch(tmp_path, environment):
    """The autoencoder's loss has no noise, so that only rounding may differ.

    Each process takes half of every batch, and the mean of their gradients is the
    gradient of the whole batch.
    """
    command = [
        # Of CPUs, 'accelerate launch' starts one process only, unless there is MPI.
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
        *("--log_dir", str(tmp_path / "logs"), "--tee", "3"),
        *("--module", "course_lib.cli", "train", "autoencoder", "--quiet"),
        *("--steps", "3", "--batch-size", "8", "--output", str(tmp_path)),
    ]
    on_cpu = environment | {"ACCELERATE_USE_CPU": "true"}
    finished = subprocess.run(command, env=on_cpu, capture_output=True, text=True, timeout=240)
    assert finished.returncode == 0, finished.stderr
    assert {path.parent.name for path in (tmp_path / "logs").rglob("stdout.log")} == {"0", "1"}
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


PLANE = {"data_shape": (2,), "bounded": False, "latent_dim": 2, "hidden": (3,)}
GAMES = {
    "gan": (GAN, GANConfig(**PLANE), TrainConfig(steps=4, batch_size=6, clip=0.5, log_every=2)),
    "wgan-gp": (
        WGAN,
        WGANConfig(**PLANE, networks="perceptron"),
        TrainConfig(steps=3, batch_size=6, clip=0.0, critic_steps=2, betas=(0.0, 0.9), log_every=1),
    ),
    "wgan": (
        WGAN,
        WGANConfig(**PLANE, networks="perceptron", constraint="clip", clip=0.1),
        TrainConfig(
            steps=3, batch_size=6, clip=0.0, critic_steps=2, optimizer="rmsprop", log_every=1
        ),
    ),
}


def new_game(name: str) -> tuple[torch.nn.Module, torch.Tensor, TrainConfig]:
    """The same untrained model and data in every process; no batch norm, in double precision."""
    kind, about, settings = GAMES[name]
    torch.manual_seed(0)
    points = torch.from_numpy(np.random.default_rng(0).normal(1.0, 0.5, size=(20, 2)))
    return kind(about).double(), points, settings


def new_srdiff() -> tuple[SRDiff, TensorDataset, TrainConfig]:
    """The recipe for a graphics card at tiny size: the authors' networks, patches of noise."""
    torch.manual_seed(0)
    model = SRDiff(SRDiffConfig(hidden=4, multipliers=(1, 2), encoder_blocks=2, encoder_features=4))
    pairs = TensorDataset(torch.rand(8, 3, 8, 8), torch.rand(8, 3, 32, 32))
    return model, pairs, TrainConfig(steps=2, batch_size=4)


def play_as_one_of_two(rank: int, port: int, folder: str) -> None:
    """What each of the two processes does; it writes down what it ends with."""
    import os
    from pathlib import Path

    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for name in GAMES:
        model, points, settings = new_game(name)
        where = Path(folder) / name
        averaged = fit(model, points, settings, folder=where, quiet=True)
        ends = {"model": model.state_dict(), "average": averaged.state_dict()}
        torch.save(ends, Path(folder) / f"{name}-{rank}.pt")
    model, pairs, settings = new_srdiff()
    fit(model, pairs, settings, quiet=True)
    torch.save(model.state_dict(), Path(folder) / f"srdiff-{rank}.pt")


def two_shares_by_hand(name: str) -> tuple[torch.nn.Module, list[dict[str, float]]]:
    """One process that adds up both shares of every move: a plain loop with PyTorch's Adam.

    Each share has the batch and the random numbers of its rank; their gradients are averaged.
    """
    model, points, settings = new_game(name)
    first, second = (getattr(model, player) for player in model.players)
    if settings.optimizer == "adam":
        own = {
            part: torch.optim.Adam(part.parameters(), betas=settings.betas)
            for part in (first, second)
        }
    else:
        own = {part: torch.optim.RMSprop(part.parameters()) for part in (first, second)}
    logged, batch, move = [], -1, -1
    for step in range(settings.steps):
        rate = settings.learning_rate * (1 + math.cos(math.pi * step / settings.steps)) / 2
        line = {}
        for player in [model.players[0]] * settings.critic_steps + [model.players[1]]:
            batch, move = batch + (player != "generator"), move + 1
            part = getattr(model, player)
            losses, logs = [], []
            for rank in range(2):
                share = batch_indices(batch, size=20, batch_size=6, seed=0, rank=rank, world=2)
                assert len(share) == 3
                noise = step_generator(move, seed=0, rank=rank)
                loss, more = model.loss(points[share], player=player, generator=noise)
                losses.append(loss)
                logs.append(more)
            gradients = torch.autograd.grad(
                sum(losses) / 2, list(part.parameters()), allow_unused=True
            )
            for parameter, gradient in zip(part.parameters(), gradients, strict=True):
                parameter.grad = torch.zeros_like(parameter) if gradient is None else gradient
            if settings.clip:
                torch.nn.utils.clip_grad_norm_(part.parameters(), settings.clip)
            own[part].param_groups[0]["lr"] = rate
            own[part].step()
            if hasattr(model, "after_move"):
                model.after_move(player)
            key = "generator_loss" if player == "generator" else "loss"
            line[key] = (sum(losses) / 2).item()
            line |= {name: (logs[0][name] + logs[1][name]).item() / 2 for name in logs[0]}
        logged.append(line)
    return model, logged


@pytest.mark.slow
def test_two_processes_play_games_and_train_srdiff_together(tmp_path, environment):
    """Both end with the same weights, those of a loop by hand that averages their gradients.

    The processes are forked from one that has loaded everything, which saves the time.
    """
    script = f"""
import socket, sys
import torch._dynamo  # which optimizers ask for, so that it is loaded once
import torch.multiprocessing
sys.path.insert(0, {str(__file__.rsplit("/", 1)[0])!r})
from test_distributed import play_as_one_of_two

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
arguments = (port, {str(tmp_path)!r})
torch.multiprocessing.start_processes(play_as_one_of_two, arguments, 2, start_method="fork")
"""
    finished = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=240
    )
    assert finished.returncode == 0, finished.stderr
    for name, (_, _, settings) in GAMES.items():
        ends = [torch.load(tmp_path / f"{name}-{rank}.pt", weights_only=True) for rank in range(2)]
        for part in ("model", "average"):
            for key, value in ends[0][part].items():
                assert torch.equal(value, ends[1][part][key]), (name, part, key)
        start = new_game(name)[0].state_dict()
        expected, lines = two_shares_by_hand(name)
        for key, value in expected.state_dict().items():
            assert torch.allclose(ends[0]["model"][key], value, rtol=1e-9, atol=1e-12), (name, key)
            assert not torch.equal(start[key], value) or key == "critic.3.bias", (name, key)

        logged = [json.loads(line) for line in (tmp_path / name / LOG).read_text().splitlines()]
        every = settings.log_every
        assert [line["step"] for line in logged] == list(range(every, settings.steps + 1, every))
        for index, line in enumerate(logged):  # the means of both processes, from one of them
            window = lines[index * every : (index + 1) * every]
            means = {key: np.mean([entry[key] for entry in window]) for key in window[0]}
            assert {key: line[key] for key in means} == pytest.approx(means, rel=1e-6), name

    start = new_srdiff()[0].state_dict()
    first, second = (torch.load(tmp_path / f"srdiff-{i}.pt", weights_only=True) for i in range(2))
    for key, value in first.items():
        assert torch.equal(value, second[key]), key
        if key.startswith("rrdb."):  # the frozen encoder
            assert torch.equal(value, start[key]), key
    moved = [key for key in start if not torch.equal(first[key], start[key])]
    assert len(moved) > 20
