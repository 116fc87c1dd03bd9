"""The upscalers themselves, and ``load``, which finds one by its name."""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from .. import weights
from ..data.degradation import upscale as bicubic
from ..diffusion import SAMPLERS
from ..models.blocks import from_network, to_network
from .clothes import CLOTHES, Clothes
from .interface import Request, Upscaler, UpscalingError
from .latent import LatentDiffusion, LatentUpscaler
from .latent.published import load_upscaler
from .realesrgan import load_realesrgan
from .regression import ResidualSR
from .rrdb import RRDBEncoder
from .runtime import check_known, compiled
from .srdiff import SRDiff

UPSCALERS = ("nearest", "bicubic", "regression", "srdiff", "latent")
OPTIONAL = ("realesrgan",)  # what needs a package of its own
TOYS = ("latent-clothes",)  # upscalers of clothes, 8 x 8 to 32 x 32 pixels


class Nearest(Upscaler):
    """Every pixel becomes a square."""

    name = "nearest"

    def __init__(self, scale: int = 4):
        self.scale = scale

    def enlarge(self, lr: torch.Tensor, request: Request) -> torch.Tensor:
        """Repeat each pixel ``scale`` times in both directions."""
        return F.interpolate(lr, scale_factor=self.scale, mode="nearest")


class Bicubic(Nearest):
    """The smooth curve through the pixels: :eq:`sr-kernel`."""

    name = "bicubic"

    def enlarge(self, lr: torch.Tensor, request: Request) -> torch.Tensor:
        """Interpolate, and clip what overshoots."""
        return bicubic(lr, self.scale).clamp(0, 1)


class Regression(Upscaler):
    """The regression model, which answers with the mean of what would fit.

    It answers for ``views`` of the image, 1, 2, 4 or 8 of its mirrorings and turns, and takes
    the mean of what it says: :eq:`sr-ensemble`.
    """

    name = "regression"

    def __init__(self, model: ResidualSR | RRDBEncoder, views: int = 4):
        if views not in (1, 2, 4, 8):
            raise ValueError(f"views must be 1, 2, 4 or 8, not {views}")
        self.model, self.views = for_inference(model), views
        self.scale = model.config.scale

    @torch.inference_mode()
    def enlarge(self, lr: torch.Tensor, request: Request) -> torch.Tensor:
        """Apply the network to each view, and turn the answers back."""
        total, x = 0, to_network(lr)
        for view in range(self.views):
            seen = channels_last(turned(x, view))
            total = total + turned_back(self.model.forward_with_condition(seen)[0], view)
        return from_network(total / self.views).clamp(0, 1)


class RealESRGAN(Regression):
    """A large network that others trained, against a judge and for damaged photographs.

    Its 64 channels at the high resolution want smaller tiles than our networks do.
    """

    name = "realesrgan"
    auto_tile = 128

    def __init__(self, model: RRDBEncoder, views: int = 1):
        super().__init__(model, views)


class Diffusion(Upscaler):
    """SRDiff, which draws one of the images that would fit.

    ``runtime`` is what computes the denoiser: a name in ``runtime.RUNTIMES``.
    """

    name = "srdiff"
    samplers = SAMPLERS

    def __init__(self, model: SRDiff, runtime: str = "torch"):
        self.model = compiled(for_inference(model), runtime)
        self.scale = model.config.scale

    def steps_for(self, steps: int | None, sampler: str | None) -> int:
        """Return the number of steps, as :meth:`~course_lib.upscaling.srdiff.SRDiff.sample`."""
        try:
            return self.model.steps_for(sampler, steps)
        except ValueError as error:
            raise UpscalingError(str(error)) from error

    def enlarge(self, lr: torch.Tensor, request: Request) -> torch.Tensor:
        """Draw from the model, with the noise that belongs to the tile's place."""
        sampler = request.sampler or self.model.config.sampler
        count = self.steps_for(request.steps, sampler)
        n, timesteps = len(lr), self.model.config.timesteps

        def noise(draw: int) -> torch.Tensor:
            # The images of a batch differ in their noise: each has a range of draws, which
            # is the same for all numbers of steps.
            each = [request.noise(draw + i * (timesteps + 1), self.scale) for i in range(n)]
            return channels_last(torch.cat(each))

        noises = [noise(draw) for draw in range(1, count + 1)] if sampler == "ddpm" else None
        return self.model.sample(
            channels_last(lr),
            sampler=sampler,
            steps=request.steps,
            x_T=noise(0),
            noises=noises,
            temperature=request.temperature,
            on_step=request.on_step,
        )


def load(
    name: str | Path,
    *,
    scale: int | None = None,
    runtime: str = "torch",
    pretrained: str | Path | None = None,
    revision: str | None = None,
    on_status: Callable[[str], None] | None = None,
) -> Upscaler:
    """Return an upscaler by its name, or one from a file or folder of yours.

    Names are those of ``UPSCALERS``, of ``OPTIONAL`` where their packages are installed, and
    for clothes of 7 x 7 pixels those of ``CLOTHES``; 'nearest' and 'bicubic' take any
    ``scale`` (4 unless given), the others have their own. A path is the folder of a training
    run or its ``.safetensors`` file, or a ``.ckpt`` file of SRDiff's authors (x4, or x8 with
    ``scale=8``). ``runtime`` is what computes the denoiser
    of a diffusion model of photographs, 'torch' or, where they are there, 'openvino' and
    'openvino-bf16'. Raises :class:`~course_lib.upscaling.interface.UpscalingError` for an
    unknown name or runtime, and the errors of :func:`~course_lib.weights.store.load` and
    :meth:`~course_lib.upscaling.srdiff.SRDiff.from_official` for files.

    'latent' takes weights that others have published by ``pretrained``: a repository's id, of
    which ``revision`` may name a version, or a folder. Their loading, of which ``on_status`` is
    told, is that of :func:`~course_lib.upscaling.latent.published.load_published`.
    """
    if pretrained is not None or revision is not None:
        upscaler = load_pretrained(name, runtime, pretrained, revision, on_status)
    elif name in ("nearest", "bicubic"):
        only_torch(runtime, name)
        if scale is not None and (type(scale) is not int or scale < 1):
            raise UpscalingError(f"scale must be a whole number of at least 1, not {scale!r}")
        return (Nearest if name == "nearest" else Bicubic)(scale or 4)
    elif name in (*UPSCALERS, *CLOTHES, *TOYS):
        upscaler = wrap(weights.load(str(name)), runtime)
    elif name == "realesrgan":
        only_torch(runtime, name)
        upscaler = RealESRGAN(load_realesrgan())
    elif Path(name).suffix == ".ckpt":
        upscaler = wrap(SRDiff.from_official(name, "celeba" if scale == 8 else "div2k"), runtime)
    elif Path(name).exists():
        upscaler = wrap(from_run(Path(name)), runtime)
    else:
        raise UpscalingError(
            f"there is no upscaler {str(name)!r}; known: "
            f"{', '.join((*UPSCALERS, *OPTIONAL, *CLOTHES))}, or the path of a run's folder, of "
            "a .safetensors file, or of the authors' .ckpt file"
        )
    if scale not in (None, upscaler.scale):
        raise UpscalingError(f"{name} enlarges by {upscaler.scale}, not by {scale}")
    return upscaler


def load_pretrained(
    name: str | Path,
    runtime: str,
    pretrained: str | Path | None,
    revision: str | None,
    on_status: Callable[[str], None] | None,
) -> LatentUpscaler:
    """Return the latent upscaler with published weights."""
    if name != "latent":
        raise UpscalingError(f"pretrained and revision are for 'latent', not for {str(name)!r}")
    if pretrained is None:
        raise UpscalingError("a revision is one of a repository: name that by pretrained")
    only_torch(runtime, str(name))
    return load_upscaler(pretrained, revision=revision, on_status=on_status)


def from_run(path: Path) -> nn.Module:
    """Return the network of a training run's folder or of its weights."""
    if path.is_dir():
        found = [n for n in weights.names(path) if weights.there(n, path)]
        if len(found) != 1:
            raise UpscalingError(
                f"{path} holds {len(found)} models; name the .safetensors file instead"
            )
        return weights.load(found[0], path)
    if path.suffix != ".safetensors":
        raise UpscalingError(f"{path} is neither a folder nor a .safetensors or .ckpt file")
    return weights.load(path.stem, path.parent)


def wrap(model: nn.Module, runtime: str = "torch") -> Upscaler:
    """Return the upscaler around a network."""
    if isinstance(model, SRDiff):
        return Diffusion(model, runtime)
    only_torch(runtime, type(model).__name__)
    if isinstance(model, LatentDiffusion):
        return LatentUpscaler(for_inference(model).pipeline())
    if type(model) in CLOTHES.values():
        return Clothes(model)
    if isinstance(model, ResidualSR | RRDBEncoder):
        return Regression(model)
    raise UpscalingError(f"{type(model).__name__} is not a model that enlarges images")


def only_torch(runtime: str, name: str) -> None:
    """Raise for any other runtime: what is left to gain is in the denoisers."""
    check_known(runtime)
    if runtime != "torch":
        raise UpscalingError(f"{name} runs on PyTorch only; {runtime} is for diffusion models")


def turned(images: torch.Tensor, view: int) -> torch.Tensor:
    """Return images mirrored where ``view`` is odd, then turned by view // 2 quarters."""
    mirrored = images.flip(3) if view % 2 else images
    return torch.rot90(mirrored, view // 2, (2, 3))


def turned_back(images: torch.Tensor, view: int) -> torch.Tensor:
    """Undo :func:`turned`."""
    upright = torch.rot90(images, -(view // 2), (2, 3))
    return upright.flip(3) if view % 2 else upright


def for_inference(model: nn.Module) -> nn.Module:
    """Return the model ready for use, its weights in the layout that CPUs convolve fastest."""
    return model.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def channels_last(images: torch.Tensor) -> torch.Tensor:
    """Return the images with the channels of a pixel side by side in memory."""
    return images.contiguous(memory_format=torch.channels_last)
