"""The models of *One task, four models* behind the interface that all upscalers have."""

from typing import Any

import torch

from ..diffusion import SAMPLERS
from ..models.blocks import from_network
from ..noise import seeded
from .conditional import (
    SCALE,
    SIDE,
    ConditionalDDPM,
    ConditionalGAN,
    ConditionalVAE,
    ConditionalWGAN,
    PosteriorMean,
)
from .interface import Request, Upscaler, UpscalingError

CLOTHES = {
    "fashion-mean": PosteriorMean,
    "fashion-vae": ConditionalVAE,
    "fashion-gan": ConditionalGAN,
    "fashion-wgan-gp": ConditionalWGAN,
    "fashion-ddpm": ConditionalDDPM,
}


class Clothes(Upscaler):
    """An enlargement of 7 x 7 pixels, in grey: of colours the mean is taken."""

    scale = SCALE

    def __init__(self, model: torch.nn.Module):
        self.model = model.eval().requires_grad_(False)
        self.name = next(name for name, kind in CLOTHES.items() if type(model) is kind)
        self.samplers = SAMPLERS if isinstance(model, ConditionalDDPM) else ()

    @property
    def random(self) -> bool:
        """Whether answers are drawn, which the model knows."""
        return self.model.random

    def steps_for(self, steps: int | None, sampler: str | None) -> int:
        """Return the number of steps, as :meth:`~course_lib.models.ddpm.DDPM.steps_for`."""
        if not self.samplers:
            return 1
        try:
            return self.model.steps_for(sampler or "ddim", steps)
        except ValueError as error:
            raise UpscalingError(str(error)) from error

    @torch.inference_mode()
    def enlarge(self, lr: torch.Tensor, request: Request) -> torch.Tensor:
        """Answer for each of ``lr``; raise ``UpscalingError`` unless they are 7 x 7."""
        if tuple(lr.shape[2:]) != (SIDE, SIDE):
            raise UpscalingError(
                f"{self.name} enlarges images of {SIDE} x {SIDE} pixels, not of {lr.shape[3]} x "
                f"{lr.shape[2]}; for photographs there is 'srdiff'"
            )
        options: dict[str, Any] = {}
        if self.random:
            options["generator"] = seeded(request.field.seed)
        if request.temperature is not None:
            options["temperature"] = request.temperature
        if self.samplers:
            options["sampler"] = request.sampler or "ddim"
            options["steps"] = request.steps

            def on_step(t: int, x: torch.Tensor, x0: torch.Tensor) -> None:
                request.on_step(t, picture(x), picture(x0))

            options["on_step"] = on_step
        return self.model.sample(lr.mean(1, keepdim=True), **options).expand(-1, 3, -1, -1)


def picture(x: torch.Tensor) -> torch.Tensor:
    """Return what a network sees, (N, 1, H, W) in about [-1, 1], as RGB images in [0, 1]."""
    return from_network(x).clamp(0, 1).expand(-1, 3, -1, -1)
