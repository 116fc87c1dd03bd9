"""The Wasserstein GAN, with clipped weights or with a gradient penalty.

Chapter: *Wasserstein GANs*. Sources: Arjovsky, Chintala and Bottou (2017), arXiv:1701.07875;
Gulrajani et al. (2017), arXiv:1704.00028.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from .dcgan import convolutional_critic, convolutional_generator
from .gan import Adversarial, perceptron_critic, perceptron_generator

CONSTRAINTS = ("clip", "penalty")
NETWORKS = ("convolutional", "perceptron")


@dataclass(frozen=True, kw_only=True)
class WGANConfig:
    """``constraint`` keeps the critic Lipschitz: 'clip' its weights, or a gradient 'penalty'.

    ``clip`` bounds each weight, ``penalty`` weighs the gradient penalty; each matters for
    its own constraint alone. ``networks`` are 'convolutional' for images, of ``width`` as in
    DCGAN, or 'perceptron' for any ``data_shape``, of widths ``hidden``; ``bounded`` is as in
    :class:`~course_lib.models.gan.GANConfig`.
    """

    constraint: str = "penalty"
    clip: float = 0.01
    penalty: float = 10.0
    latent_dim: int = 100
    networks: str = "convolutional"
    width: int = 32
    hidden: tuple[int, ...] = (256, 512)
    data_shape: tuple[int, ...] = (1, 28, 28)
    bounded: bool = True

    def __post_init__(self):
        if self.constraint not in CONSTRAINTS:
            raise ValueError(
                f"unknown constraint {self.constraint!r}; known: {', '.join(CONSTRAINTS)}"
            )
        if self.networks not in NETWORKS:
            raise ValueError(f"unknown networks {self.networks!r}; known: {', '.join(NETWORKS)}")
        if self.networks == "convolutional" and (self.data_shape, self.bounded) != (
            (1, 28, 28),
            True,
        ):
            raise ValueError("convolutional networks draw bounded images of shape (1, 28, 28)")
        if self.clip <= 0 or self.penalty < 0:
            raise ValueError("clip must be positive and penalty not negative")


def critic_loss(real_scores: torch.Tensor, fake_scores: torch.Tensor) -> torch.Tensor:
    """Return minus the critic's estimate of the distance: :eq:`wgan-critic-loss`."""
    return fake_scores.mean() - real_scores.mean()


def generator_loss(fake_scores: torch.Tensor) -> torch.Tensor:
    """Return the generator's loss: :eq:`wgan-generator-loss`."""
    return -fake_scores.mean()


def gradient_penalty(
    critic: Callable[[torch.Tensor], torch.Tensor],
    real: torch.Tensor,
    fake: torch.Tensor,
    *,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Return the mean of (norm of gradient - 1)^2 on lines from real to fake: :eq:`wgan-penalty`.

    ``real`` and ``fake`` are (N, ...). Each pair has one mixing weight of its own, and the
    norm runs over all axes but the first. ``critic`` must treat the N examples separately
    (no batch norm), or the gradient of one would depend on the others.
    """
    device = generator.device if generator is not None else real.device
    shape = (len(real), *[1] * (real.ndim - 1))
    weight = torch.rand(shape, generator=generator, device=device, dtype=real.dtype)
    weight = weight.to(real.device)
    mixed = (weight * real + (1 - weight) * fake).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


@torch.no_grad()
def clip_weights(critic: nn.Module, bound: float) -> None:
    """Clip every weight of the critic to [-bound, bound]: :eq:`wgan-clip`."""
    for parameter in critic.parameters():
        parameter.clamp_(-bound, bound)


def wasserstein_1d(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the Wasserstein-1 distance of two samples (N,) on the line: :eq:`wgan-quantiles`.

    In one dimension the best plan pairs them in order. Raises ``ValueError`` for samples of
    different size.
    """
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(
            f"two vectors of the same size are needed, not {tuple(x.shape)} and {tuple(y.shape)}"
        )
    return (x.sort().values - y.sort().values).abs().mean()


class WGAN(Adversarial):
    """A generator and a critic, whose game estimates the Wasserstein-1 distance."""

    players = ("critic", "generator")

    def __init__(self, config: WGANConfig | None = None):
        super().__init__()
        self.config = config = config or WGANConfig()
        if config.networks == "convolutional":
            self.generator = convolutional_generator(config.latent_dim, config.width)
            self.critic = convolutional_critic(config.width, batch_norm=False)
        else:
            self.generator = perceptron_generator(
                config.latent_dim, config.hidden, config.data_shape, bounded=config.bounded
            )
            self.critic = perceptron_critic(config.data_shape, config.hidden[::-1])

    def loss(
        self, batch: torch.Tensor, *, player: str, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the loss of one ``player`` and, for the critic, its estimate of the distance.

        Raises ``ValueError`` for an unknown player.
        """
        self.check_player(player)
        z = self.latents(len(batch), generator=generator)
        if player == "generator":
            return generator_loss(self.critic(self.generator(z))), {}
        with torch.no_grad():
            fake = self.generator(z)
        real = self.real(batch)
        loss = critic_loss(self.critic(real), self.critic(fake))
        logs = {"distance": -loss.detach()}
        if self.config.constraint == "penalty":
            penalty = gradient_penalty(self.critic, real, fake, generator=generator)
            loss = loss + self.config.penalty * penalty
            logs["penalty"] = penalty.detach()
        return loss, logs

    def after_move(self, player: str) -> None:
        """Clip the critic's weights after each of its moves, where that is the constraint."""
        if player == "critic" and self.config.constraint == "clip":
            clip_weights(self.critic, self.config.clip)
