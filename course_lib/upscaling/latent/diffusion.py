"""The diffusion of an autoencoder's codes, told the small image, its noise and a text.

Chapter: *Stable Diffusion upscaling*. After Rombach et al. (2022), arXiv:2112.10752, and the x4
upscaler of Stability AI, whose parts this has at a hundredth of the size. The small image gets
noise of a random level, which the network is told: noise-conditioning augmentation (Ho et al.,
2022, arXiv:2106.15282). The text is left out of some of the examples, so that guidance can tell
what it adds (Ho and Salimans, 2022, arXiv:2207.12598).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from ...models.blocks import to_network
from ...noise import standard_normal
from . import parts

if TYPE_CHECKING:
    from diffusers import StableDiffusionUpscalePipeline

MODULES = ("vae", "unet", "text_encoder")  # what has weights, as a pipeline names them
UNTOLD = 0.15  # the share of examples whose text is left out


@dataclass(frozen=True, kw_only=True)
class LatentDiffusionConfig:
    """The sizes of the parts, and ``words``, which the tokenizer knows whole.

    ``low_res_levels`` is the number of levels over which the small image becomes noise; the
    pipeline uses the first 351. In training they are 350 u^noise_power for a uniform u.
    """

    autoencoder: tuple[int, ...] = (24, 48, 96)
    channels: tuple[int, ...] = (64, 96, 96)
    latent_channels: int = 4
    autoencoder_groups: int = 2
    groups: int = 8
    words: tuple[str, ...] = ()
    text_width: int = 64
    text_layers: int = 2
    text_length: int = 24
    low_res_levels: int = 1000
    noise_power: float = 3.0

    scale = 4  # the autoencoder's and the published upscaler's, and so no setting


class LatentDiffusion(nn.Module):
    """The parts of a ``StableDiffusionUpscalePipeline``, and how they learn.

    The autoencoder is not trained here.
    """

    def __init__(self, config: LatentDiffusionConfig | None = None):
        super().__init__()
        self.config = config = config or LatentDiffusionConfig()
        self.tokenizer = parts.tokenizer(config.words, length=config.text_length)
        self.vae = parts.autoencoder(
            config.autoencoder,
            latent_channels=config.latent_channels,
            groups=config.autoencoder_groups,
        ).requires_grad_(False)
        self.unet = parts.unet(
            config.channels,
            text_width=config.text_width,
            latent_channels=config.latent_channels,
            groups=config.groups,
        )
        self.text_encoder = parts.text_encoder(
            len(self.tokenizer),
            width=config.text_width,
            layers=config.text_layers,
            length=config.text_length,
        )
        self.scheduler = parts.scheduler()
        self.low_res_scheduler = parts.low_res_scheduler(config.low_res_levels)

    def tokens(self, texts: list[str]) -> torch.Tensor:
        """Return the tokens (N, text_length) of N texts; what is too long is cut off."""
        return self.tokenizer(
            texts,
            padding="max_length",
            max_length=self.config.text_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids

    @torch.no_grad()
    def encode(self, hr: torch.Tensor) -> torch.Tensor:
        """Return the codes (N, C, H/4, W/4) of images (N, 3, H, W) in [0, 1], at unit variance."""
        return self.vae.encode(to_network(hr)).latent_dist.mean * parts.SCALING_FACTOR

    def loss(
        self,
        batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        *,
        generator: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the squared error of the velocity: :eq:`latent-loss`.

        ``batch`` holds small images (N, 3, h, w) in [0, 1], the codes (N, C, h, w) of the large
        ones, and the tokens (N, L) of their texts.
        """
        lr, codes, tokens = batch
        n = len(lr)

        def uniform() -> torch.Tensor:
            device = generator.device if generator is not None else lr.device
            return torch.rand(n, generator=generator, device=device).to(lr.device)

        def noise(like: torch.Tensor) -> torch.Tensor:
            return standard_normal(*like.shape, like=like, generator=generator)

        level = ((parts.LEVELS - 1) * uniform() ** self.config.noise_power).round().long()
        t = (uniform() * self.scheduler.config.num_train_timesteps).long()
        untold = self.tokens([""]).to(lr.device)
        tokens = torch.where((uniform() < UNTOLD)[:, None], untold, tokens)

        x = to_network(lr)
        small = self.low_res_scheduler.add_noise(x, noise(x), level)
        eps = noise(codes)
        noisy = self.scheduler.add_noise(codes, eps, t)
        velocity = self.scheduler.get_velocity(codes, eps, t)
        predicted = self.unet(
            torch.cat([noisy, small], dim=1),
            t,
            encoder_hidden_states=self.text_encoder(tokens)[0],
            class_labels=level,
        ).sample
        return F.mse_loss(predicted.float(), velocity), {}

    def pipeline(self) -> "StableDiffusionUpscalePipeline":
        """Return the pipeline of these parts, which shares their weights."""
        from diffusers import StableDiffusionUpscalePipeline

        pipeline = StableDiffusionUpscalePipeline(
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            unet=self.unet,
            low_res_scheduler=self.low_res_scheduler,
            scheduler=self.scheduler,
            max_noise_level=parts.LEVELS - 1,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def save_pretrained(self, folder: Path) -> list[Path]:
        """Write the pipeline in half precision as diffusers does; return the weights' files."""
        import copy

        copy.deepcopy(self).half().pipeline().save_pretrained(folder, safe_serialization=True)
        return sorted(folder.glob("*/*.safetensors"))
