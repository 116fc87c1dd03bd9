"""The generative adversarial network: a generator and a discriminator that play a game.

Chapter: *Generative adversarial networks*. Source: Goodfellow et al. (2014),
arXiv:1406.2661. Both networks are perceptrons here; the next chapters change the networks
(:mod:`course_lib.models.dcgan`) and the game (:mod:`course_lib.models.wgan`).
"""

import itertools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from ..noise import standard_normal
from .blocks import from_network, to_network

GENERATOR_LOSSES = ("non-saturating", "saturating")


@dataclass(frozen=True, kw_only=True)
class GANConfig:
    """``data_shape`` is the shape of one example; ``loss`` one of ``GENERATOR_LOSSES``.

    With ``bounded`` the data are images in [0, 1] and the generator ends in a tanh; without,
    they are any vectors. ``hidden`` are the generator's widths, and backwards the
    discriminator's.
    """

    data_shape: tuple[int, ...] = (1, 28, 28)
    bounded: bool = True
    latent_dim: int = 64
    hidden: tuple[int, ...] = (256, 512)
    loss: str = "non-saturating"

    def __post_init__(self):
        check_loss(self.loss)


def discriminator_loss(real_logits: torch.Tensor, fake_logits: torch.Tensor) -> torch.Tensor:
    """Return minus the value of the game in nats: :eq:`gan-discriminator-loss`.

    ``logits`` are log(D / (1 - D)), any shape; -log D is then softplus(-logit).
    """
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def generator_loss(fake_logits: torch.Tensor, kind: str = "non-saturating") -> torch.Tensor:
    """Return the generator's loss: :eq:`gan-saturating` or :eq:`gan-non-saturating`."""
    check_loss(kind)
    if kind == "saturating":
        return -F.softplus(fake_logits).mean()
    return F.softplus(-fake_logits).mean()


def check_loss(kind: str) -> None:
    """Raise ``ValueError`` unless ``kind`` is one of ``GENERATOR_LOSSES``."""
    if kind not in GENERATOR_LOSSES:
        raise ValueError(f"unknown loss {kind!r}; known: {', '.join(GENERATOR_LOSSES)}")


class Adversarial(nn.Module):
    """What all games share: a generator of data from latents, and an opponent.

    A subclass builds ``self.generator`` and its opponent, names both in ``players`` in the
    order in which they move, and defines ``loss(batch, *, player, generator)``.
    """

    players: tuple[str, str]
    generator: nn.Module

    def latents(self, n: int, *, generator: torch.Generator | None = None) -> torch.Tensor:
        """Draw latents (n, latent_dim) from N(0, I)."""
        like = next(self.parameters())
        return standard_normal(n, self.config.latent_dim, like=like, generator=generator)

    def generate(self, z: torch.Tensor) -> torch.Tensor:
        """Map latents (N, latent_dim) to data ``(N, *data_shape)``, images in [0, 1]."""
        data = self.generator(z)
        return from_network(data) if self.config.bounded else data

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> torch.Tensor:
        """Draw latents and return the data that they are mapped to, ``(n, *data_shape)``."""
        return self.generate(self.latents(n, generator=generator))

    def check_player(self, player: str) -> None:
        """Raise ``ValueError`` for a player that this game does not have."""
        if player not in self.players:
            raise ValueError(f"unknown player {player!r}; known: {', '.join(self.players)}")

    def real(self, batch: torch.Tensor) -> torch.Tensor:
        """Return data as the networks see them, images in [-1, 1]."""
        return to_network(batch) if self.config.bounded else batch


class GAN(Adversarial):
    """Generator and discriminator, and the two losses of their game."""

    players = ("discriminator", "generator")

    def __init__(self, config: GANConfig | None = None):
        super().__init__()
        self.config = config or GANConfig()
        self.generator, self.discriminator = self.networks()

    def networks(self) -> tuple[nn.Module, nn.Module]:
        """Return a new generator and a new discriminator, perceptrons both."""
        config = self.config
        return (
            perceptron_generator(
                config.latent_dim, config.hidden, config.data_shape, bounded=config.bounded
            ),
            perceptron_critic(config.data_shape, config.hidden[::-1]),
        )

    def loss(
        self, batch: torch.Tensor, *, player: str, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the loss of one ``player`` and, for the discriminator, how often it is right.

        No gradient reaches the generator while the discriminator moves. Raises ``ValueError``
        for an unknown player.
        """
        self.check_player(player)
        z = self.latents(len(batch), generator=generator)
        if player == "generator":
            return generator_loss(self.discriminator(self.generator(z)), self.config.loss), {}
        with torch.no_grad():
            fake = self.generator(z)
        real_logits = self.discriminator(self.real(batch))
        fake_logits = self.discriminator(fake)
        loss = discriminator_loss(real_logits, fake_logits)
        right = (real_logits > 0).float().mean() + (fake_logits < 0).float().mean()
        return loss, {"accuracy": right.detach() / 2}


def perceptron_generator(
    latent_dim: int, hidden: tuple[int, ...], data_shape: tuple[int, ...], *, bounded: bool
) -> nn.Sequential:
    """Return a network from (N, latent_dim) to ``(N, *data_shape)``, in [-1, 1] if bounded."""
    widths = (latent_dim, *hidden)
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(0.2)]
    layers.append(nn.Linear(widths[-1], math.prod(data_shape)))
    if bounded:
        layers.append(nn.Tanh())
    return nn.Sequential(*layers, nn.Unflatten(1, data_shape))


def perceptron_critic(data_shape: tuple[int, ...], hidden: tuple[int, ...]) -> nn.Sequential:
    """Return a network from ``(N, *data_shape)`` to one number each, (N,)."""
    widths = (math.prod(data_shape), *hidden)
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 1), nn.Flatten(0))
