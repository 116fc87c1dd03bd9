"""SRDiff: super-resolution by diffusing what an enlargement lacks.

Chapter: *SRDiff*. Source: Li et al. (2022), arXiv:2104.14951, and the configuration that its
authors released. A frozen encoder describes the small image; a U-Net learns to take noise
from the residual between the large image and a simple enlargement. The mathematics is in
``course_lib.diffusion``.

Pictures are in [0, 1] wherever the docstrings call them images; what the networks see, and
what is called the base, is in [-1, 1].
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from ..diffusion import (
    PREDICTIONS,
    SAMPLERS,
    Schedule,
    cosine_schedule,
    q_sample,
    sample_ddim,
    sample_ddpm,
    sample_dpm_solver,
    steps_taken,
    target,
    to_x0,
)
from ..diffusion.process import jump_factors
from ..diffusion.samplers import OnStep
from ..models.blocks import from_network, to_network
from ..noise import standard_normal
from .compact import CompactUNet
from .denoiser import ConditionalUNet
from .official import load_official
from .regression import RegressionConfig, ResidualSR
from .rrdb import RRDBConfig, RRDBEncoder
from .spread import SpreadHead, spread_loss

CHOICES = {
    "encoder": ("rrdb", "residual"),
    "denoiser": ("official", "compact"),
    "prediction": PREDICTIONS,
    "base": ("bicubic", "encoder"),
    "loss": ("l1", "l2"),
    "sampler": SAMPLERS,
}
OFFICIAL = {
    "div2k": {"scale": 4, "multipliers": (1, 2, 3, 4)},
    "celeba": {"scale": 8, "multipliers": (1, 2, 2, 4)},
}


@dataclass(frozen=True, kw_only=True)
class SRDiffConfig:
    """What is built, what it is trained for, and how it samples by default.

    ``encoder`` is 'rrdb' with ``encoder_blocks`` and ``encoder_features``, or 'residual';
    ``denoiser`` is 'official' or 'compact', with ``hidden`` times ``multipliers`` channels;
    ``prediction`` is 'epsilon', 'x0' or 'velocity', ``loss`` 'l1' or 'l2'. The residual is
    taken from ``base``, the 'bicubic' enlargement (times ``base_gain``) or the 'encoder'
    image, multiplied by ``residual_scale`` and clipped to ``residual_limit``, as are
    estimates of it in each step; before, it is divided by its size as a head with
    ``spread_hidden`` channels predicts it (0: not at all). ``sampler``, ``steps`` (of those
    that choose theirs), ``temperature`` and ``back_projections`` are the defaults of
    :meth:`SRDiff.sample`.
    """

    scale: int = 4
    hidden: int = 64
    multipliers: tuple[int, ...] = (1, 2, 3, 4)
    encoder_blocks: int = 8
    encoder_features: int = 32
    timesteps: int = 100
    residual_scale: float = 2.0
    encoder: str = "rrdb"
    denoiser: str = "official"
    prediction: str = "epsilon"
    base: str = "bicubic"
    base_gain: float = 1.0
    residual_limit: float = 1.0
    spread_hidden: int = 0
    loss: str = "l1"
    sampler: str = "ddpm"
    steps: int = 100
    temperature: float = 1.0
    back_projections: int = 0

    def __post_init__(self):
        for name, known in CHOICES.items():
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"unknown {name} {value!r}; known: {', '.join(known)}")
        for name in ("residual_scale", "residual_limit"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")

    @classmethod
    def official(cls, name: str = "div2k") -> "SRDiffConfig":
        """Return what the authors released: 'div2k' (photographs, x4) or 'celeba' (faces, x8).

        Their enlargement was made from 8-bit values divided by 256, not 255; a network that
        learned to make up for it needs the same base.
        """
        if name not in OFFICIAL:
            raise ValueError(f"unknown configuration {name!r}; known: {', '.join(OFFICIAL)}")
        return cls(base_gain=255 / 256, **OFFICIAL[name])


def srdiff_schedule(timesteps: int = 100) -> Schedule:
    """Return SRDiff's schedule: that of :eq:`ddpm-cosine` with offset 0.008.

    The authors' ``linspace(0, T + 1, T + 1) / (T + 1)`` looks like another grid, but is the
    same: T + 1 times from 0 to 1.
    """
    return cosine_schedule(timesteps)


@dataclass(frozen=True)
class Condition:
    """What an image tells the U-Net, computed once for all steps.

    ``image`` is the encoder's enlargement (N, 3, H, W) in [-1, 1], ``projected`` its
    features as the U-Net adds them, and ``spread`` what residuals are divided by: 1, or
    (N, 1, H, W).
    """

    image: torch.Tensor
    projected: torch.Tensor
    spread: torch.Tensor | float = 1.0


class SRDiff(nn.Module):
    """A diffusion model of what is missing from an enlargement by ``config.scale``.

    The encoder ``rrdb`` is trained beforehand, and frozen.
    """

    def __init__(self, config: SRDiffConfig | None = None):
        super().__init__()
        self.config = config = config or SRDiffConfig()
        self.schedule = srdiff_schedule(config.timesteps)
        self.rrdb = build_encoder(config).requires_grad_(False).eval()
        channels = self.rrdb.condition_channels
        self.denoise_fn = build_denoiser(config, channels)
        self.spread_head = (
            SpreadHead(channels, hidden=config.spread_hidden, scale=config.scale)
            if config.spread_hidden
            else None
        )
        # The authors' files hold them, so that ours must; what is used is the schedule, in double.
        for name, values in schedule_buffers(self.schedule).items():
            self.register_buffer(name, values.float(), persistent=config.denoiser == "official")

    @classmethod
    def from_official(cls, path: str | Path, config: str | SRDiffConfig = "div2k") -> "SRDiff":
        """Return the model in a file of the authors', for use.

        ``config`` is 'div2k', 'celeba' or a config for a file trained with other settings.
        Raises :class:`~course_lib.upscaling.official.CheckpointError` unless the file is
        there and holds exactly this model.
        """
        model = cls(SRDiffConfig.official(config) if isinstance(config, str) else config)
        load_official(model, Path(path))
        return model.eval()

    def train(self, mode: bool = True) -> "SRDiff":
        """Set the mode of all but the encoder, which stays as it was trained."""
        super().train(mode)
        self.rrdb.eval()
        return self

    def condition(self, lr: torch.Tensor) -> Condition:
        """Describe images ``lr`` (N, 3, h, w) in [0, 1]: once for an image, not for a step.

        No gradients reach the encoder; they do reach the projection, which is the U-Net's,
        and the head that predicts the spread.
        """
        with torch.no_grad():
            image, features = self.rrdb.forward_with_condition(to_network(lr))
        spread = self.spread_head(features) if self.spread_head else 1.0
        return Condition(image, self.denoise_fn.project(features), spread)

    def base(
        self, lr: torch.Tensor, condition: Condition, lr_up: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the enlargement of ``lr`` in [-1, 1] that the residual is taken from.

        ``lr_up`` is an enlargement made elsewhere, to be used as it is. Raises ``ValueError``
        if it has the wrong shape, or if the base is the encoder's image.
        """
        if self.config.base == "encoder":
            if lr_up is not None:
                raise ValueError("the base is the encoder's image, so lr_up would not be used")
            return condition.image
        if lr_up is None:
            from ..data.degradation import upscale

            lr_up = self.config.base_gain * upscale(lr, self.config.scale)
        if lr_up.shape != condition.image.shape:
            raise ValueError(
                f"lr_up must be of shape {tuple(condition.image.shape)}, "
                f"but is {tuple(lr_up.shape)}"
            )
        return to_network(lr_up)

    def to_residual(
        self, hr: torch.Tensor, base: torch.Tensor, spread: torch.Tensor | float = 1.0
    ) -> torch.Tensor:
        """Return what is diffused, from pictures in [-1, 1]: :eq:`srdiff-residual`."""
        limit = self.config.residual_limit
        return (self.config.residual_scale * (hr - base) / spread).clamp(-limit, limit)

    def from_residual(
        self, x: torch.Tensor, base: torch.Tensor, spread: torch.Tensor | float = 1.0
    ) -> torch.Tensor:
        """Return the picture, about in [-1, 1], that a residual stands for."""
        limit = self.config.residual_limit
        return x.clamp(-limit, limit) * spread / self.config.residual_scale + base

    def loss(
        self,
        batch: tuple[torch.Tensor, torch.Tensor],
        *,
        generator: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return :eq:`srdiff-objective` for images (lr, hr), at one random step for each.

        Where the spread is predicted, :eq:`srdiff-spread` is added, and logged. The mean runs
        over the batch, channels and pixels. Raises ``ValueError`` unless hr is ``scale``
        times as high and as wide as lr.
        """
        lr, hr = batch
        condition = self.condition(lr)
        if hr.shape != condition.image.shape:
            raise ValueError(
                f"hr must be of shape {tuple(condition.image.shape)}, but is {tuple(hr.shape)}"
            )
        x, base, spread = to_network(hr), self.base(lr, condition), condition.spread
        if self.spread_head:
            spread = spread.detach()  # or a large one would make the denoiser's task easy
        x0 = self.to_residual(x, base, spread)
        device = generator.device if generator is not None else hr.device
        t = torch.randint(self.config.timesteps, (len(hr),), generator=generator, device=device)
        epsilon = standard_normal(*x0.shape, like=x0, generator=generator)
        loss = self.objective(x0, t.to(hr.device), epsilon, condition)
        if not self.spread_head:
            return loss, {}
        of_spread = spread_loss(x - base, condition.spread)
        return loss + of_spread, {"denoising": loss.detach(), "spread": of_spread.detach()}

    def objective(
        self, x0: torch.Tensor, t: torch.Tensor, epsilon: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        """Return :eq:`srdiff-objective` for given steps ``t`` (N,) and noise (N, 3, H, W).

        An error of x_0 is divided by the noise's share, which makes it one of the velocity:
        else the steps with most noise, where x_0 is anyone's guess, would outweigh all others.
        """
        x_t = q_sample(x0, t, epsilon, self.schedule)
        wanted = target(self.config.prediction, x0, epsilon, t, self.schedule)
        error = self.denoise_fn(x_t, t, condition.projected) - wanted
        if self.config.prediction == "x0":
            _, spread = jump_factors(t, x0, self.schedule)
            error = error / spread
        return error.abs().mean() if self.config.loss == "l1" else error.square().mean()

    def denoise(self, x_t: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        """Estimate the residual behind states (N, 3, H, W) after steps ``t`` (N,), clipped.

        At the first steps back an error of the predicted noise is magnified 2,000 times:
        without the clipping nothing would come of it.
        """
        predicted = self.denoise_fn(x_t, t, condition.projected)
        x0 = to_x0(self.config.prediction, predicted, x_t, t, self.schedule)
        return x0.clamp(-self.config.residual_limit, self.config.residual_limit)

    def sample(
        self,
        lr: torch.Tensor,
        lr_up: torch.Tensor | None = None,
        *,
        sampler: str | None = None,
        steps: int | None = None,
        x_T: torch.Tensor | None = None,
        noises: Sequence[torch.Tensor] | None = None,
        generator: torch.Generator | None = None,
        eta: float = 0.0,
        temperature: float | None = None,
        back_projections: int | None = None,
        on_step: OnStep | None = None,
    ) -> torch.Tensor:
        """Draw an enlargement (N, 3, H, W) in [0, 1] of each of the images ``lr`` (N, 3, h, w).

        ``sampler`` is one of ``SAMPLERS``; ``steps`` is how often the U-Net is applied, always
        all T for 'ddpm'; ``eta`` is DDIM's. The walk starts from ``x_T`` (N, 3, H, W) from
        N(0, I), by default drawn, times ``temperature``: :eq:`srdiff-temperature`; ``noises``
        are those that 'ddpm' adds. ``back_projections`` is how often the result is corrected
        by :func:`back_project`. What is ``None`` is as in the config. ``lr_up`` is for
        :meth:`base`, in [0, 1].

        ``on_step(t, image, estimate)`` sees each state and each estimate as images (before any
        back projection). Sides that the U-Net cannot halve are continued by reflection, and
        the result is cropped. Raises ``ValueError`` for wrong shapes, an unknown sampler and
        options that the sampler does not have.
        """
        config = self.config
        sampler = sampler or config.sampler
        steps = self.steps_for(sampler, steps)
        if eta and sampler != "ddim":
            raise ValueError(f"eta belongs to sampler 'ddim', not to {sampler!r}")
        if noises is not None and sampler != "ddpm":
            raise ValueError(f"noises belong to sampler 'ddpm', not to {sampler!r}")
        if lr.ndim != 4 or lr.shape[1] != 3 or 0 in lr.shape:
            raise ValueError(f"lr must be images (N, 3, h, w), not of shape {tuple(lr.shape)}")
        height, width = (config.scale * side for side in lr.shape[-2:])
        shape = (len(lr), 3, height, width)
        if x_T is None:
            x_T = standard_normal(*shape, like=lr, generator=generator)
        all_noises = () if noises is None else noises
        for name, given in (("x_T", x_T), ("lr_up", lr_up), *(("noises", n) for n in all_noises)):
            if given is not None and given.shape != shape:
                raise ValueError(f"{name} must be of shape {shape}, but is {tuple(given.shape)}")
        temperature = config.temperature if temperature is None else temperature
        repeats = config.back_projections if back_projections is None else back_projections

        with torch.inference_mode():
            pad = partial(pad_to, size=self.padded_size(height, width))
            padded = pad_to(lr, tuple(side // config.scale for side in pad.keywords["size"]))
            condition = self.condition(padded)
            base = self.base(padded, condition, None if lr_up is None else pad(lr_up))

            def picture(x: torch.Tensor) -> torch.Tensor:
                image = from_network(self.from_residual(x, base, condition.spread)).clamp(0, 1)
                return image[..., :height, :width]

            def show(t: int, x: torch.Tensor, x0: torch.Tensor) -> None:
                on_step(t, picture(x), picture(x0))

            start = (
                partial(self.denoise, condition=condition),
                temperature * pad(x_T),
                self.schedule,
            )
            watch = show if on_step else None
            if sampler == "ddpm":
                noises = None if noises is None else [pad(noise) for noise in all_noises]
                x0 = sample_ddpm(*start, noises=noises, generator=generator, on_step=watch)
            elif sampler == "ddim":
                x0 = sample_ddim(*start, steps=steps, eta=eta, generator=generator, on_step=watch)
            else:
                x0 = sample_dpm_solver(*start, steps=steps, on_step=watch)
            sr = back_project(picture(x0), lr, config.scale, repeats)
        return sr.clone()  # outside, so that it may take part in gradients again

    def steps_for(self, sampler: str | None, steps: int | None) -> int:
        """Return how many steps :meth:`sample` takes; ``None`` is as in the config.

        Raises ``ValueError`` for an unknown sampler, and for a number that it cannot take.
        """
        return steps_taken(
            sampler or self.config.sampler,
            steps,
            timesteps=self.config.timesteps,
            default=self.config.steps,
        )

    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the smallest sides that the U-Net can halve and the scale divides."""
        multiple = math.lcm(self.denoise_fn.multiple, self.config.scale)
        least = 2 * self.denoise_fn.multiple
        return tuple(math.ceil(max(side, least) / multiple) * multiple for side in (height, width))


def build_encoder(config: SRDiffConfig) -> nn.Module:
    """Return the encoder that a config names, untrained.

    It maps ``lr`` in [-1, 1] to an enlargement and features by ``forward_with_condition``,
    and says how many these are by ``condition_channels``.
    """
    if config.encoder == "rrdb":
        return RRDBEncoder(
            RRDBConfig(
                blocks=config.encoder_blocks,
                features=config.encoder_features,
                scale=config.scale,
            )
        )
    return ResidualSR(
        RegressionConfig(
            scale=config.scale,
            channels=config.encoder_features,
            blocks=config.encoder_blocks,
            inner_channels=2 * config.encoder_features,
            inner_blocks=2 * config.encoder_blocks,
        )
    )


def build_denoiser(config: SRDiffConfig, condition_channels: int) -> nn.Module:
    """Return the U-Net that a config names, untrained.

    It has ``project(condition)``, ``forward(x_t, t, projected)`` and ``multiple``, which the
    sides must be divisible by.
    """
    if config.denoiser == "official":
        return ConditionalUNet(condition_channels, config.hidden, config.multipliers, config.scale)
    return CompactUNet(
        condition_channels,
        hidden=config.hidden,
        multipliers=config.multipliers,
        fold=config.scale,
    )


def schedule_buffers(schedule: Schedule) -> dict[str, torch.Tensor]:
    """Return a schedule as the authors' files hold it: 12 vectors (T,), here in float64."""
    kept, before = schedule.alpha_bar, schedule.alpha_bar_previous
    variance = schedule.posterior_variance
    return {
        "betas": schedule.beta,
        "alphas_cumprod": kept,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": kept.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - kept).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - kept).log(),
        "sqrt_recip_alphas_cumprod": kept.rsqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / kept - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": before.sqrt() * schedule.beta / (1 - kept),
        "posterior_mean_coef2": schedule.alpha.sqrt() * (1 - before) / (1 - kept),
    }


def back_project(sr: torch.Tensor, lr: torch.Tensor, scale: int, times: int = 1) -> torch.Tensor:
    """Correct images until they shrink to ``lr``: :eq:`srdiff-back-projection`, in [0, 1].

    It is repeated ``times`` times; few are enough.
    """
    from ..data.degradation import downscale, upscale

    for _ in range(times):
        sr = (sr + upscale(lr - downscale(sr, scale), scale)).clamp(0, 1)
    return sr


def pad_to(pictures: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Continue pictures (N, C, H, W) to the right and below, mirrored as often as needed."""
    for dim, side in zip((2, 3), size, strict=True):
        missing = side - pictures.shape[dim]
        mirror = torch.arange(side, device=pictures.device)
        if missing:
            period = 2 * pictures.shape[dim]
            mirror = torch.minimum(mirror % period, (-1 - mirror) % period)
            pictures = pictures.index_select(dim, mirror)
    return pictures
