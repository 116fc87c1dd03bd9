"""The denoising diffusion probabilistic model: a U-Net that learns to take noise away.

Chapter: *Diffusion models*. Source: Ho, Jain and Abbeel (2020), arXiv:2006.11239. The
mathematics is in ``course_lib.diffusion``; here it meets a network. The paper has the
network predict epsilon under a linear schedule, which is ``prediction='epsilon',
schedule='linear'``; the defaults are what works better with few sampling steps: the velocity
of Salimans and Ho (2022) under the cosine schedule of Nichol and Dhariwal (2021).
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from ..diffusion import (
    q_sample,
    sample_ddim,
    sample_ddpm,
    sample_dpm_solver,
    steps_taken,
    target,
    to_x0,
)
from ..diffusion.process import check_prediction
from ..diffusion.samplers import OnStep
from ..diffusion.schedule import SCHEDULES
from ..noise import standard_normal
from .blocks import from_network, to_network
from .unet import UNet, UNetConfig


@dataclass(frozen=True, kw_only=True)
class DDPMConfig:
    """``schedule`` is 'linear' or 'cosine', ``prediction`` one of ``PREDICTIONS``.

    The pictures are (image_channels, image_size, image_size); the rest describes the
    :class:`~course_lib.models.unet.UNet`.
    """

    timesteps: int = 1000
    schedule: str = "cosine"
    prediction: str = "velocity"
    image_channels: int = 1
    image_size: int = 28
    channels: tuple[int, ...] = (40, 80)
    attention: tuple[bool, ...] = (False, True)
    patch: int = 2

    condition_channels = 0  # of a picture that the network is shown beside the noisy one

    def __post_init__(self):
        if self.schedule not in SCHEDULES:
            raise ValueError(f"unknown schedule {self.schedule!r}; known: {', '.join(SCHEDULES)}")
        check_prediction(self.prediction)


class DDPM(nn.Module):
    """A diffusion model of pictures (N, C, H, W) in [0, 1]."""

    default_steps = 50  # of the samplers that choose theirs

    def __init__(self, config: DDPMConfig | None = None):
        super().__init__()
        self.config = config = config or DDPMConfig()
        self.schedule = SCHEDULES[config.schedule](config.timesteps)
        self.unet = UNet(
            UNetConfig(
                in_channels=config.image_channels + config.condition_channels,
                out_channels=config.image_channels,
                channels=config.channels,
                attention=config.attention,
                patch=config.patch,
            )
        )

    def steps_for(self, sampler: str, steps: int | None) -> int:
        """Return how many steps :meth:`sample` takes; ``None`` stands for the default.

        Raises ``ValueError`` for an unknown sampler, and for a number that it cannot take.
        """
        return steps_taken(
            sampler, steps, timesteps=self.config.timesteps, default=self.default_steps
        )

    def predict(
        self, x_t: torch.Tensor, t: torch.Tensor, condition: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Apply the network to states (N, C, H, W), with the ``condition`` stacked onto them."""
        seen = x_t if condition is None else torch.cat([x_t, condition], dim=1)
        return self.unet(seen, t)

    def loss(
        self,
        images: torch.Tensor,
        *,
        generator: torch.Generator | None = None,
        condition: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return :eq:`ddpm-simple`: the squared error at one random step for each image.

        The mean runs over the batch and all pixels. ``condition`` is a picture in [-1, 1]
        for each, where the config has ``condition_channels``.
        """
        x0 = to_network(images)
        device = generator.device if generator is not None else images.device
        t = torch.randint(
            self.config.timesteps, (len(images),), generator=generator, device=device
        ).to(images.device)
        epsilon = standard_normal(*x0.shape, like=x0, generator=generator)
        x_t = q_sample(x0, t, epsilon, self.schedule)
        wanted = target(self.config.prediction, x0, epsilon, t, self.schedule)
        return (self.predict(x_t, t, condition) - wanted).square().mean(), {}

    def denoise(
        self, x_t: torch.Tensor, t: torch.Tensor, condition: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Estimate the data in [-1, 1] behind states (N, C, H, W) after steps ``t`` (N,).

        Estimates are clipped to the range of the data.
        """
        predicted = self.predict(x_t, t, condition)
        x0 = to_x0(self.config.prediction, predicted, x_t, t, self.schedule)
        return x0.clamp(-1, 1)

    @torch.no_grad()  # a graph through all the steps would fill the memory
    def sample(
        self,
        n: int,
        *,
        generator: torch.Generator | None = None,
        sampler: str = "ddim",
        steps: int | None = None,
        eta: float = 0.0,
        temperature: float = 1.0,
        condition: torch.Tensor | None = None,
        on_step: OnStep | None = None,
    ) -> torch.Tensor:
        """Draw ``n`` pictures (n, C, H, W) in [0, 1].

        ``sampler`` is one of ``SAMPLERS``; ``steps`` is how often the network is applied, by
        default ``default_steps``, and always all T for 'ddpm'; ``eta`` is DDIM's. The walk
        starts from noise times ``temperature``; ``condition`` is as in :meth:`loss`. Raises
        ``ValueError`` for an unknown sampler and for options that the sampler does not have.
        """
        config, side = self.config, self.config.image_size
        steps = self.steps_for(sampler, steps)
        if eta and sampler != "ddim":
            raise ValueError(f"eta belongs to sampler 'ddim', not to {sampler!r}")
        like = next(self.parameters())
        noise = standard_normal(
            n, config.image_channels, side, side, like=like, generator=generator
        )
        denoise = partial(self.denoise, condition=condition)
        arguments = (denoise, temperature * noise, self.schedule)
        if sampler == "ddpm":
            x0 = sample_ddpm(*arguments, generator=generator, on_step=on_step)
        elif sampler == "ddim":
            x0 = sample_ddim(*arguments, steps=steps, eta=eta, generator=generator, on_step=on_step)
        else:
            x0 = sample_dpm_solver(*arguments, steps=steps, on_step=on_step)
        return from_network(x0).clamp(0, 1)
