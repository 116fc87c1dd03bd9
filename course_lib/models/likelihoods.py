"""What a decoder's output means: three likelihoods p(x | z) for images in [0, 1].

Each is made from the raw output of a decoder network and has ``log_prob(images)``, the
logarithm summed over all pixels, shape (N,), and ``mean``, an image to look at, shape
(N, C, H, W); for the discretised logistic it is the centre, which is not quite the mean,
as the tails are folded in. Chapter: *Variational autoencoders*.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

LEVELS = 256


def sum_over_pixels(values: torch.Tensor) -> torch.Tensor:
    """Sum (N, C, H, W) over all axes but the first."""
    return values.flatten(1).sum(1)


@dataclass(frozen=True, eq=False)
class Bernoulli:
    """A coin for every pixel, given by its logit: :eq:`vae-bernoulli`.

    A likelihood of black-and-white images. On grey values it is still a sensible loss, but
    no longer the logarithm of a probability: it does not integrate to one over [0, 1].
    """

    logits: torch.Tensor

    @property
    def mean(self) -> torch.Tensor:
        return torch.sigmoid(self.logits)

    def log_prob(self, images: torch.Tensor) -> torch.Tensor:
        """Raises ``ValueError`` for images outside [0, 1], where the loss is unbounded."""
        if not (images.min() >= 0 and images.max() <= 1):  # so written, it refuses NaN too
            raise ValueError(
                "the Bernoulli likelihood needs images in [0, 1], but these reach from "
                f"{images.min():.3g} to {images.max():.3g}"
            )
        return -sum_over_pixels(
            F.binary_cross_entropy_with_logits(self.logits, images, reduction="none")
        )


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A normal density for every pixel, one standard deviation for all: :eq:`vae-gaussian`.

    ``log_std`` is a scalar, learned with the network (the sigma-VAE of Rybkin, Daniilidis
    and Levine, 2021, arXiv:2006.13202).
    """

    mean: torch.Tensor
    log_std: torch.Tensor

    def log_prob(self, images: torch.Tensor) -> torch.Tensor:
        standardized = (images - self.mean) * torch.exp(-self.log_std)
        return -sum_over_pixels(
            0.5 * standardized.square() + self.log_std + 0.5 * math.log(2 * math.pi)
        )


@dataclass(frozen=True, eq=False)
class DiscretizedLogistic:
    """A probability for each of the 256 grey levels of every pixel: :eq:`vae-logistic`.

    The mass that a logistic distribution with ``mean`` and scale exp(``log_scale``) puts
    into the bin of half-width 1/510 around a level; the bins at 0 and 1 take the tails
    (Kingma et al., 2016, arXiv:1606.04934, and Salimans et al., 2017, arXiv:1701.05517).
    Being a true probability of what an 8-bit image holds, it can be given in bits.
    """

    mean: torch.Tensor
    log_scale: torch.Tensor

    def log_prob(self, images: torch.Tensor) -> torch.Tensor:
        half_bin = 0.5 / (LEVELS - 1)
        centered, sharpness = images - self.mean, torch.exp(-self.log_scale)
        upper, lower = (centered + half_bin) * sharpness, (centered - half_bin) * sharpness
        # log(s(u) - s(l)) = log s(u) + log s(-l) + log(1 - e^(l - u)): exact, and stable.
        inside = (
            F.logsigmoid(upper)
            + F.logsigmoid(-lower)
            + torch.log(-torch.expm1(-2 * half_bin * sharpness))
        )
        log_mass = torch.where(
            images < half_bin,
            F.logsigmoid(upper),
            torch.where(images > 1 - half_bin, F.logsigmoid(-lower), inside),
        )
        return sum_over_pixels(log_mass)
