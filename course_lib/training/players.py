"""Who moves when: models that play a game, and all others, who play alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


class Objective(nn.Module):
    """The model's loss as a forward pass, which is what data parallelism can wrap."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, batch: Any, generator: torch.Generator, player: str | None):
        """Return the loss and what is to be logged; ``player`` is ``None`` outside games."""
        if player is None:
            return self.model.loss(batch, generator=generator)
        return self.model.loss(batch, player=player, generator=generator)


@dataclass
class Player:
    """The weights that move together, and their optimizer; no name where nobody else plays."""

    name: str | None
    parameters: list[nn.Parameter]
    optimizer: Any

    @property
    def key(self) -> str:
        """The name under which a checkpoint keeps the optimizer."""
        return self.name or "model"


def seats(
    model: nn.Module, optimizer: str, *, learning_rate: float, betas: tuple[float, float]
) -> list[Player]:
    """Return the players of ``model.players``, or the model itself as the only one."""
    players = []
    for name in getattr(model, "players", (None,)):
        weights = model if name is None else model.get_submodule(name)
        parameters = [p for p in weights.parameters() if p.requires_grad]
        if optimizer == "rmsprop":
            moved_by = torch.optim.RMSprop(parameters, lr=learning_rate)
        else:
            moved_by = torch.optim.Adam(parameters, lr=learning_rate, betas=betas)
        players.append(Player(name, parameters, moved_by))
    return players


def moves(players: list[Player], step: int, *, repeats: int) -> Iterator[tuple[Player, int, int]]:
    """Yield (player, number of the batch, number of the move) for each move of a step.

    The first of several players moves ``repeats`` times, each time on a batch of its own;
    the others follow once each, on the last of these batches. Both numbers go on from step
    to step, and every move has its own.
    """
    first, *others = players
    repeats = repeats if others else 1
    start = step * (repeats + len(others))
    for repeat in range(repeats):
        yield first, step * repeats + repeat, start + repeat
    for index, player in enumerate(others):
        yield player, step * repeats + repeats - 1, start + repeats + index


def to_move(players: list[Player], player: Player | None = None) -> None:
    """Let gradients reach one player's weights only, or (``None``) those of all.

    It spares the work of gradients that nobody would use.
    """
    for other in players:
        for parameter in other.parameters:
            parameter.requires_grad_(player is None or other is player)


@contextmanager
def game(players: list[Player]) -> Iterator[None]:
    """Leave all weights free when the game is over, however it ends."""
    try:
        yield
    finally:
        to_move(players)
