"""The deep convolutional GAN: the game of the last chapter with networks made for images.

Chapter: *DCGAN*. Source: Radford, Metz and Chintala (2016), arXiv:1511.06434. Their networks
draw 64 x 64 pixels in five layers; ours draw 28 x 28 in four. Each of the paper's guidelines
can be switched off, to see what it does.
"""

from dataclasses import dataclass

import torch
from torch import nn

from .gan import GAN, check_loss


@dataclass(frozen=True, kw_only=True)
class DCGANConfig:
    """``width`` is the number of channels at 14 x 14; it doubles where the side halves.

    The guidelines: ``strided`` convolutions (or else pooling and nearest-neighbour
    upsampling), ``batch_norm`` in both networks, leaky rectifiers of slope ``leak`` in the
    discriminator, and weights drawn with standard deviation ``init_std`` (``None`` for
    PyTorch's own initialisation).
    """

    latent_dim: int = 100
    width: int = 32
    strided: bool = True
    batch_norm: bool = True
    leak: float = 0.2
    init_std: float | None = 0.02
    loss: str = "non-saturating"

    # What the game of the last chapter asks for.
    data_shape = (1, 28, 28)
    bounded = True

    def __post_init__(self):
        check_loss(self.loss)


class DCGAN(GAN):
    """A :class:`~course_lib.models.gan.GAN` with convolutional networks."""

    def __init__(self, config: DCGANConfig | None = None):
        super().__init__(config or DCGANConfig())
        if self.config.init_std is not None:
            initialize(self, self.config.init_std)

    def networks(self) -> tuple[nn.Module, nn.Module]:
        """Return a new generator and a new discriminator, convolutional both."""
        config = self.config
        guidelines = {"strided": config.strided, "batch_norm": config.batch_norm}
        return (
            convolutional_generator(config.latent_dim, config.width, **guidelines),
            convolutional_critic(config.width, leak=config.leak, **guidelines),
        )


def convolutional_generator(
    latent_dim: int, width: int, *, strided: bool = True, batch_norm: bool = True
) -> nn.Sequential:
    """Return a network from latents (N, latent_dim) to images (N, 1, 28, 28) in [-1, 1].

    Sides are 4, 7, 14 and 28. As in the paper, the output layer has no batch norm.
    """

    def up(inputs: int, outputs: int, kernel: int, side: int) -> nn.Module:
        if strided:
            return nn.ConvTranspose2d(inputs, outputs, kernel, stride=2, padding=1)
        return nn.Sequential(nn.Upsample(size=side), nn.Conv2d(inputs, outputs, 3, padding=1))

    def finish(channels: int) -> list[nn.Module]:
        return [nn.BatchNorm2d(channels) if batch_norm else nn.Identity(), nn.ReLU()]

    return nn.Sequential(
        nn.Unflatten(1, (latent_dim, 1, 1)),
        nn.ConvTranspose2d(latent_dim, 4 * width, 4),
        *finish(4 * width),
        up(4 * width, 2 * width, 3, 7),
        *finish(2 * width),
        up(2 * width, width, 4, 14),
        *finish(width),
        up(width, 1, 4, 28),
        nn.Tanh(),
    )


def convolutional_critic(
    width: int,
    *,
    inputs: int = 1,
    strided: bool = True,
    batch_norm: bool = True,
    leak: float = 0.2,
) -> nn.Sequential:
    """Return a network from images (N, inputs, 28, 28) to one number each, (N,).

    Sides are 28, 14, 7 and 4. As in the paper, the input layer has no batch norm.
    """

    def down(inputs: int, outputs: int, kernel: int) -> nn.Module:
        if strided:
            return nn.Conv2d(inputs, outputs, kernel, stride=2, padding=1)
        pool = nn.MaxPool2d(2, ceil_mode=True)
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), pool)

    def finish(channels: int) -> list[nn.Module]:
        return [nn.BatchNorm2d(channels) if batch_norm else nn.Identity(), nn.LeakyReLU(leak)]

    return nn.Sequential(
        down(inputs, width, 4),
        nn.LeakyReLU(leak),
        down(width, 2 * width, 4),
        *finish(2 * width),
        down(2 * width, 4 * width, 3),
        *finish(4 * width),
        nn.Conv2d(4 * width, 1, 4),
        nn.Flatten(0),
    )


@torch.no_grad()
def initialize(network: nn.Module, std: float) -> None:
    """Draw all weights as the paper does: N(0, std^2), batch norms' scales N(1, std^2).

    Biases become 0. Source: section 4 of the paper; the batch norms follow its authors' code.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, std)
            nn.init.zeros_(module.bias)
