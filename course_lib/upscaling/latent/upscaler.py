"""Any ``StableDiffusionUpscalePipeline``, small or published, as an upscaler like the others."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from ...noise import seeded
from ..interface import Picture, Request, Upscaled, Upscaler, UpscalingError
from .color import COLOR_FIXES

if TYPE_CHECKING:
    from diffusers import StableDiffusionUpscalePipeline

SAMPLERS = {
    "ddim": "DDIMScheduler",
    "dpm-solver": "DPMSolverMultistepScheduler",
    "ddpm": "DDPMScheduler",
}
MOST_GUIDANCE = 50.0


@dataclass(frozen=True, kw_only=True)
class Conditioning:
    """What the pipeline is told besides the small image.

    ``noise_level`` is how much noise the small image gets before the network sees it;
    ``guidance_scale`` how far the text is followed (1: as learned); ``color_fix`` a name in
    ``COLOR_FIXES``.
    """

    prompt: str = ""
    negative_prompt: str = ""
    guidance_scale: float = 1.0
    noise_level: int = 20
    color_fix: str = "back-projection"


class LatentUpscaler(Upscaler):
    """A pipeline that draws codes and decodes them. ``defaults`` holds where nothing is said."""

    samplers = tuple(SAMPLERS)
    keeps_states = False

    def __init__(
        self,
        pipeline: "StableDiffusionUpscalePipeline",
        *,
        name: str = "latent",
        steps: int = 10,
        defaults: Conditioning | None = None,
        auto_tile: int | None = None,
    ):
        self.pipeline, self.name, self.default_steps = pipeline, name, steps
        self.defaults = defaults or Conditioning()
        self.scale = 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
        self.noise_channels = pipeline.vae.config.latent_channels
        self.auto_tile = auto_tile or type(self).auto_tile
        self.schedulers = {"ddim": pipeline.scheduler}

    @property
    def max_noise_level(self) -> int:
        """The largest noise level that the network knows."""
        return self.pipeline.config.max_noise_level

    def steps_for(self, steps: int | None, sampler: str | None) -> int:
        """Return the number of steps; raise for less than 1 or more than it was trained with."""
        steps = self.default_steps if steps is None else steps
        most = self.pipeline.scheduler.config.num_train_timesteps
        if not 1 <= steps <= most:
            raise UpscalingError(f"steps must be from 1 to {most:,}, not {steps}")
        return steps

    def upscale(
        self,
        image: Picture,
        *,
        prompt: str | None = None,
        negative_prompt: str | None = None,
        guidance_scale: float | None = None,
        noise_level: int | None = None,
        color_fix: str | None = None,
        **options: Any,
    ) -> Upscaled:
        """Enlarge an image, told more than the image: see :class:`Conditioning`.

        What is ``None`` is the default. ``options`` are those of
        :meth:`~course_lib.upscaling.interface.Upscaler.upscale`.
        """
        given = {
            "prompt": prompt,
            "negative_prompt": negative_prompt,
            "guidance_scale": guidance_scale,
            "noise_level": noise_level,
            "color_fix": color_fix,
        }
        told = vars(self.defaults) | {k: v for k, v in given.items() if v is not None}
        conditioning = Conditioning(**told)
        self._check(conditioning, options)
        return super().upscale(image, conditioning=conditioning, **options)

    @torch.inference_mode()
    def enlarge(self, lr: torch.Tensor, request: Request) -> torch.Tensor:
        """Run the pipeline on a tile, padded to sides that its networks can halve."""
        told: Conditioning = request.conditioning
        n, (height, width) = len(lr), lr.shape[2:]
        multiple = math.lcm(
            self.scale, 2 ** (len(self.pipeline.unet.config.block_out_channels) - 1)
        )
        padded = F.pad(lr, (0, -width % multiple, 0, -height % multiple), mode="replicate")
        tile = request.tile
        codes = [
            request.field.read(draw, tile.top, tile.left, *padded.shape[2:]) for draw in range(n)
        ]
        self.pipeline.scheduler = self._scheduler(request.sampler or "ddim")
        weights = next(self.pipeline.unet.parameters())

        def callback(step: int, t: int, latents: torch.Tensor) -> None:
            if request.on_step:
                request.on_step(int(t), latents, latents)

        images = self.pipeline(
            prompt=[told.prompt] * n,
            negative_prompt=[told.negative_prompt] * n,
            image=padded,
            num_inference_steps=self.steps_for(request.steps, request.sampler),
            guidance_scale=told.guidance_scale,
            noise_level=told.noise_level,
            latents=torch.cat(codes).to(weights.dtype),
            generator=seeded(request.field.seed, tile.top, tile.left),
            output_type="pt",
            callback=callback,
        ).images
        return images[..., : self.scale * height, : self.scale * width].float().cpu()

    def finish(
        self, sr: torch.Tensor, lr: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        """Repair the colours."""
        return COLOR_FIXES[conditioning.color_fix](sr, lr)

    def _scheduler(self, sampler: str) -> Any:
        if sampler not in self.schedulers:
            import diffusers

            kind = getattr(diffusers, SAMPLERS[sampler])
            self.schedulers[sampler] = kind.from_config(self.pipeline.scheduler.config)
        return self.schedulers[sampler]

    def _check(self, told: Conditioning, options: dict[str, Any]) -> None:
        for name in ("prompt", "negative_prompt"):
            if not isinstance(getattr(told, name), str):
                raise UpscalingError(f"{name} must be a text, not {getattr(told, name)!r}")
        if not 1 <= told.guidance_scale <= MOST_GUIDANCE:
            raise UpscalingError(
                f"guidance_scale must be from 1 to {MOST_GUIDANCE:g}, not {told.guidance_scale}"
            )
        most = self.max_noise_level
        if type(told.noise_level) is not int or not 0 <= told.noise_level <= most:
            raise UpscalingError(
                f"noise_level must be a whole number from 0 to {most}, not {told.noise_level!r}"
            )
        if told.color_fix not in COLOR_FIXES:
            raise UpscalingError(
                f"there is no color_fix {told.color_fix!r}; known: {', '.join(COLOR_FIXES)}"
            )
        if options.get("temperature") is not None:
            raise UpscalingError(f"{self.name} has no temperature: its noise is the scheduler's")
