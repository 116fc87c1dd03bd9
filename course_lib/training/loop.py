"""The training loop: one for every model, on a CPU, a GPU or many machines.

A model takes part by one method, ``loss(batch, *, generator) -> (scalar, logs)``, where
``logs`` is a dictionary of scalars to report. A game also names its ``players``, the
submodules that move in turn, and its loss is told whose move it is:
``loss(batch, *, player, generator)``; ``after_move(player)``, where there is one, is called
after each. The rest (devices, processes, gradients shared among them) is ``accelerate``'s;
``accelerate launch`` starts the same command on several processes or machines.
"""

import json
import math
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, send_to_device
from torch import nn
from torch.optim.swa_utils import AveragedModel

from . import checkpoint
from .errors import SettingsError
from .interruption import Interrupted, catch_signals
from .order import batch_indices, step_generator
from .players import Objective, game, moves, seats, to_move
from .progress import Report, progress_bar

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}

__all__ = ["Data", "Interrupted", "TrainConfig", "fit", "learning_rate"]


class Data(Protocol):
    """What the loop needs of training data; a tensor of images will do."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: torch.Tensor) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long and how to train.

    ``batch_size`` counts all processes together. ``schedule`` is 'constant' or 'cosine'
    (towards zero after the last step), after ``warmup`` steps of linear growth. ``clip`` bounds
    the gradient's norm (0: not at all). ``ema`` is the decay of the averaged weights (0:
    none are kept), smaller at the start so that the untrained weights are soon forgotten.
    ``optimizer`` is 'adam', with its two ``betas``, or 'rmsprop'. In a game the first player
    moves ``critic_steps`` times in a step, each time on a batch of its own, and then the
    others once each, on the last of these batches.
    ``precision`` is 'float32', or 'bfloat16' for the loss and its gradients, where processors
    and cards that have it are about twice as fast; the weights stay in float32.
    A state is saved every ``save_seconds``, a line is logged every ``log_every`` steps.
    """

    steps: int
    batch_size: int = 128
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    warmup: int = 0
    clip: float = 1.0
    ema: float = 0.999
    optimizer: str = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    critic_steps: int = 1
    precision: str = "float32"
    seed: int = 0
    save_seconds: float = 120.0
    log_every: int = 50

    def __post_init__(self):
        if self.schedule not in ("constant", "cosine"):
            raise SettingsError(f"unknown schedule {self.schedule!r}; known: constant, cosine")
        if self.optimizer not in ("adam", "rmsprop"):
            raise SettingsError(f"unknown optimizer {self.optimizer!r}; known: adam, rmsprop")
        if self.precision not in PRECISIONS:
            known = ", ".join(PRECISIONS)
            raise SettingsError(f"unknown precision {self.precision!r}; known: {known}")
        for name in ("steps", "batch_size", "critic_steps", "log_every"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.ema < 1:
            raise SettingsError(f"ema must be in [0, 1), not {self.ema}")


def learning_rate(config: TrainConfig, step: int) -> float:
    """Return the learning rate at a step (counted from 0)."""
    warm = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    if config.schedule == "constant":
        return config.learning_rate * warm
    return config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / config.steps))


def fit(
    model: nn.Module,
    data: Data,
    config: TrainConfig,
    *,
    folder: str | Path | None = None,
    identity: dict[str, Any] | None = None,
    quiet: bool = False,
    on_log: Callable[[dict[str, float]], None] | None = None,
) -> nn.Module:
    """Train ``model`` in place and return what should be used: it, or its average.

    It trains on accelerate's device, and is returned on the one that it came from.

    With a ``folder`` the state is saved there, and a run found there is resumed, exactly:
    an interrupted run ends with the same bits as an uninterrupted one on the same CPU.
    ``identity`` names what else belongs to the run (the model's config, say); resuming
    with another one is an error. ``on_log`` receives every logged line.

    Ctrl-C (or SIGTERM) saves and raises
    :class:`~course_lib.training.interruption.Interrupted`.
    """
    players = seats(model, config.optimizer, learning_rate=config.learning_rate, betas=config.betas)
    several = DistributedDataParallelKwargs(find_unused_parameters=len(players) > 1)
    accelerator = Accelerator(kwargs_handlers=[several])
    # Not accelerate's own, which cannot change within a process.
    precision = torch.autocast(
        accelerator.device.type,
        dtype=PRECISIONS[config.precision],
        enabled=config.precision != "float32",
    )
    home = next(model.parameters()).device
    rank, world = accelerator.process_index, accelerator.num_processes
    average = _average(model, config)
    settings = _settings(config, identity)
    folder = Path(folder) if folder is not None else None

    state = checkpoint.load(folder, settings) if folder else None
    if state:
        model.load_state_dict(state["model"])
        for player in players:
            player.optimizer.load_state_dict(state["optimizers"][player.key])
        if average:
            average.load_state_dict(state["average"])
    step, seconds_before = (state["step"], state["seconds"]) if state else (0, 0.0)
    optimizers = [player.optimizer for player in players]
    objective, *optimizers = accelerator.prepare(Objective(model), *optimizers)
    for player, optimizer in zip(players, optimizers, strict=True):
        player.optimizer = optimizer
    after_move = getattr(model, "after_move", lambda player: None)
    if average:
        average.to(accelerator.device)
    log = checkpoint.Log(folder, step) if folder and accelerator.is_main_process else None
    started = last_saved = time.monotonic()

    def save() -> None:
        if folder and accelerator.is_main_process:
            checkpoint.save(
                folder,
                {
                    "model": model.state_dict(),
                    "optimizers": {p.key: p.optimizer.state_dict() for p in players},
                    "average": average.state_dict() if average else {},
                    "step": step,
                    "seconds": seconds_before + time.monotonic() - started,
                    "machine": machine(accelerator.device),
                    "saved": time.strftime("%Y-%m-%d"),
                    "settings": json.dumps(settings),
                },
            )

    def mean_over_processes(value: torch.Tensor) -> torch.Tensor:
        return accelerator.reduce(value, reduction="mean")

    model.train()
    show = not quiet and accelerator.is_main_process
    with (
        game(players),
        catch_signals() as interruption,
        progress_bar(config.steps, step, show) as bar,
    ):
        report = Report(bar, log, on_log, config.log_every, mean_over_processes)
        while step < config.steps:
            rate = learning_rate(config, step)
            logs: dict[str, torch.Tensor] = {}
            for player, number, move in moves(players, step, repeats=config.critic_steps):
                indices = batch_indices(
                    number,
                    size=len(data),
                    batch_size=config.batch_size,
                    seed=config.seed,
                    rank=rank,
                    world=world,
                )
                batch = send_to_device(data[indices], accelerator.device)
                generator = step_generator(move, seed=config.seed, rank=rank)
                for group in player.optimizer.param_groups:
                    group["lr"] = rate
                to_move(players, player)
                with precision:
                    loss, moved = objective(batch, generator, player.name)
                player.optimizer.zero_grad(set_to_none=True)
                accelerator.backward(loss)
                if config.clip:
                    accelerator.clip_grad_norm_(player.parameters, config.clip)
                player.optimizer.step()
                if player.name:
                    after_move(player.name)
                # Of a player that moves several times, the last move is reported.
                logs |= {"loss" if player is players[0] else f"{player.name}_loss": loss.detach()}
                logs |= moved
            if average:
                average.update_parameters(model)
            step += 1
            report.step(step, logs, rate)

            if interruption.requested:
                accelerator.set_trigger()
            if accelerator.check_trigger():  # all processes stop at the same step
                save()
                model.to(home)
                raise Interrupted(step, config.steps, folder)
            if time.monotonic() - last_saved > config.save_seconds:
                save()
                last_saved = time.monotonic()
    if not state or step > state["step"]:
        save()
    accelerator.wait_for_everyone()
    model.to(home)
    return (average.module if average else model).to(home).eval()


def machine(device: torch.device) -> str:
    """Return in words what a device is."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    kind = "CPU" if device.type == "cpu" else device.type
    return f"{kind} ({platform.machine()}), {torch.get_num_threads()} threads"


def _average(model: nn.Module, config: TrainConfig) -> AveragedModel | None:
    if not config.ema:
        return None

    @torch.no_grad()
    def update(averages: list[torch.Tensor], weights: list[torch.Tensor], count) -> None:
        decay = min(config.ema, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averages, weights, 1 - decay)

    # Buffers (of batch norms, say) are running averages already, and are copied.
    return AveragedModel(model, multi_avg_fn=update)


def _settings(config: TrainConfig, identity: dict[str, Any] | None) -> dict[str, Any]:
    """Return all that decides the result; how often to save or log does not."""
    settings = checkpoint.plain(config, identity or {})
    return {k: v for k, v in settings.items() if k not in ("save_seconds", "log_every")}
