"""What else can be done with a model that draws: walk between two answers, join two images.

Chapter: *SRDiff*. Sources: Li et al. (2022), arXiv:2104.14951, who show both for faces; Song et
al. (2021), arXiv:2010.02502, and Shoemake (1985), doi:10.1145/325334.325242, for the walk on
a sphere.
"""

import math

import torch


def slerp(a: torch.Tensor, b: torch.Tensor, weight: float) -> torch.Tensor:
    """Return noise (N, ...) between ``a`` at 0 and ``b`` at 1: :eq:`srdiff-interpolation`.

    Each of the N pairs is turned from one to the other within the plane that it spans, so that
    noises of one length stay as long, where a straight line would cut through the sphere.
    Raises ``ValueError`` for different shapes, weights outside [0, 1], a noise of zeros and
    opposite noises, which have no plane.
    """
    if a.shape != b.shape or a.ndim < 1:
        raise ValueError(
            f"a and b must have one shape (N, ...), not {tuple(a.shape)} and {tuple(b.shape)}"
        )
    if not 0 <= weight <= 1:
        raise ValueError(f"weight must be in [0, 1], but is {weight}")
    first, second = a.flatten(1).double(), b.flatten(1).double()
    lengths = first.norm(dim=1) * second.norm(dim=1)
    if bool((lengths == 0).any()):
        raise ValueError("a noise of zeros has no direction")
    # Half the angle by the tangent: an arc cosine would lose it where it is small.
    u, v = (x / x.norm(dim=1, keepdim=True) for x in (first, second))
    angle = 2 * torch.atan2((u - v).norm(dim=1), (u + v).norm(dim=1))
    if bool((angle > math.pi - 1e-6).any()):
        raise ValueError("opposite noises span no plane to turn in")
    # sin(w x) / sin(x), in a form that knows that it is w at 0.
    of_b = weight * torch.sinc(weight * angle / math.pi) / torch.sinc(angle / math.pi)
    of_a = (1 - weight) * torch.sinc((1 - weight) * angle / math.pi) / torch.sinc(angle / math.pi)
    shape = (-1, *[1] * (a.ndim - 1))
    return of_a.to(a.dtype).view(shape) * a + of_b.to(b.dtype).view(shape) * b


def fuse(inside: torch.Tensor, outside: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return images made of two, (N, C, H, W): :eq:`srdiff-fusion`.

    ``mask`` (N or 1, 1, H, W) in [0, 1] says how much of ``inside`` there is at each pixel.
    Small images are fused before they are enlarged, so that what is drawn at the seam fits
    both sides. Raises ``ValueError`` for shapes that do not fit and masks outside [0, 1].
    """
    if inside.shape != outside.shape or inside.ndim != 4:
        raise ValueError(
            f"inside and outside must have one shape (N, C, H, W), not {tuple(inside.shape)} "
            f"and {tuple(outside.shape)}"
        )
    shapes = [(n, 1, *inside.shape[2:]) for n in (1, len(inside))]
    if tuple(mask.shape) not in shapes:
        raise ValueError(
            f"the mask must be of shape {shapes[0]} or {shapes[1]}, but is {tuple(mask.shape)}"
        )
    if not bool(((mask >= 0) & (mask <= 1)).all()):
        raise ValueError("the mask must be in [0, 1]")
    return mask * inside + (1 - mask) * outside
