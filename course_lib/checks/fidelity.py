"""Checks of the exercises on shrinking and comparing pictures."""

import math

import torch
import torch.nn.functional as F

from ..metrics import psnr, ssim
from .verdict import agree, must


def decibels(answer) -> None:
    """PSNR of the luma from 8-bit pictures: range, luma, border, batch, whole numbers."""
    rng = torch.Generator().manual_seed(0)
    hr = torch.randint(40, 210, (2, 3, 12, 12), generator=rng, dtype=torch.uint8)
    size = torch.tensor([3, 20]).view(2, 1, 1, 1)
    error = (torch.randn(hr.shape, generator=rng) * size).round()
    error[..., :2] *= 2  # the border is worse than the rest
    sr = (hr + error).clamp(0, 255).to(torch.uint8)
    one, two = sr.double() / 255, hr.double() / 255
    wanted = psnr(one, two, border=2)
    grey = ((one - two) * torch.tensor([0.299, 0.587, 0.114]).double().view(3, 1, 1)).sum(1)
    of_grey = -10 * grey[:, 2:-2, 2:-2].square().mean((1, 2)).log10()
    errors = 10 ** (-wanted / 10)
    agree(
        answer(sr, hr, 2),
        wanted,
        "the PSNR",
        tolerance=1e-5,
        mistakes={
            "the border is not left out.": psnr(one, two),
            "the border is left out at one side only, or by another width.": psnr(
                one[..., 2:, 2:], two[..., 2:, 2:]
            ),
            "this is the PSNR of the three colours; take the luma.": psnr(
                one, two, border=2, channel="rgb"
            ),
            "this is 1.32 dB, a factor of 255 / 219, off: either the luma is that of the full "
            "range (0.299, 0.587, 0.114), or the largest value is 219 / 255 instead of 1.": of_grey,
            "the largest value is 1 for a luma in [0, 1], not 255.": wanted + 20 * math.log10(255),
            "the luma is that of numbers up to 255; divide the pictures by 255 first.": wanted
            - 20 * math.log10(255),
            "the sign is wrong: a small error is a large PSNR.": -wanted,
            "the batch is taken together; return one number for each picture.": (
                -10 * errors.mean().log10()
            ),
            "the batch is taken together; each picture has a PSNR of its own.": (
                -10 * errors.mean().log10().expand(2)
            ),
            "the natural logarithm is taken; decibels have the logarithm to base 10.": (
                -10 * errors.log()
            ),
            "whole numbers are subtracted before they are made floating point: 3 - 5 is 254 "
            "for uint8.": wrapped(sr, hr),
        },
    )
    whole_pictures = answer(sr, hr, 0)
    must(
        not isinstance(whole_pictures, torch.Tensor) or not whole_pictures.isnan().any(),
        "with a border of 0 there is nothing left: x[0:-0] is empty.",
    )
    agree(whole_pictures, psnr(one, two), "the PSNR with a border of 0", tolerance=1e-5)


def wrapped(sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
    """Return the 'PSNR' of differences that wrapped around, with a border of 2."""
    weights = torch.tensor([65.481, 128.553, 24.966]).double().view(3, 1, 1) / 255
    difference = ((sr - hr).double() / 255 * weights).sum(1)[:, 2:-2, 2:-2]
    return -10 * difference.square().mean((1, 2)).log10()


def resizing(answer) -> None:
    """The matrix that resizes a line, against PyTorch's filter on unit pixels."""
    for inputs, outputs in ((8, 2), (2, 8), (9, 4), (5, 5)):
        lines = torch.eye(inputs, dtype=torch.float64)[None, None]

        def filtered(lines=lines, inputs=inputs, outputs=outputs, **options) -> torch.Tensor:
            size = (inputs, outputs)
            return F.interpolate(lines, size=size, mode="bilinear", **options)[0, 0].T

        what = f"the matrix from {inputs} to {outputs} pixels"
        found = answer(inputs, outputs)
        if isinstance(found, torch.Tensor) and found.shape == (outputs, inputs):
            sums = found.double().sum(1)
            for row, total in enumerate(sums.tolist()):
                must(
                    total == total and total != 0,
                    f"in {what} row {row} has no weights: no pixel is near enough. Where the line "
                    "does not shrink, h is 1, and the middles are those of the text.",
                )
                must(
                    abs(total - 1) < 1e-5,
                    f"in {what} row {row} sums to {total:.4g}; divide each row by its sum.",
                )
            must(
                torch.allclose(found, found.flip(0, 1), atol=1e-6),
                f"{what} treats the two ends of the line differently: the new pixels' middles "
                "are off by a part of a pixel.",
            )
        agree(
            found,
            filtered(antialias=True),
            what,
            tolerance=1e-5,
            mistakes={
                f"in {what} the kernel is not stretched: most pixels are skipped, and fine "
                "patterns turn into coarse ones. Where the line shrinks, h is more than 1.": (
                    filtered()
                ),
                f"in {what} the corners are aligned; pixel i covers the stretch from i to i + 1, "
                "and its middle is at i + 1/2.": filtered(antialias=True, align_corners=True),
                f"{what} is transposed.": filtered(antialias=True).T,
                f"in {what} the weights of pixels outside go to those mirrored there, as in the "
                "chapter; here such pixels do not exist.": outside(inputs, outputs, True),
                f"in {what} the weights of pixels outside are given to the last pixel; here such "
                "pixels do not exist.": outside(inputs, outputs, False),
            },
        )


def outside(inputs: int, outputs: int, mirror: bool) -> torch.Tensor:
    """Return the matrix whose lines go on beyond their ends, mirrored or constant."""
    pad = inputs if mirror else 4 * inputs
    line = torch.arange(inputs)
    ends = (line.flip(0), line.flip(0)) if mirror else (line[:1].expand(pad), line[-1:].expand(pad))
    longer = torch.eye(inputs, dtype=torch.float64)[torch.cat([ends[0], line, ends[1]])]
    ratio = inputs / outputs
    middles = (torch.arange(outputs).double() + 0.5) * ratio - 0.5 + pad
    places = torch.arange(len(longer)).double()
    weights = (1 - (places - middles[:, None]).abs() / max(ratio, 1)).clamp(min=0)
    return weights @ longer / weights.sum(1, keepdim=True)


def agreeing(answer) -> None:
    """The nearest picture that shrinks to the small one: two conditions, and three mistakes."""
    shrink = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.25, 0.25, 0.5]], dtype=torch.float64)
    answers = torch.tensor([[1.0, 0.0, 2.0, -1.0], [0.5, 0.5, 0.0, 1.0]], dtype=torch.float64)
    small = torch.tensor([[0.0, 1.0], [0.5, 0.5]], dtype=torch.float64)
    # The conditions of Lagrange: x + shrink^T l = answer, shrink x = small.
    system = torch.zeros(6, 6, dtype=torch.float64)
    system[:4, :4], system[:4, 4:], system[4:, :4] = torch.eye(4), shrink.T, shrink
    wanted = torch.linalg.solve(system, torch.cat([answers, small], 1).T).T[:, :4]
    inverse = torch.linalg.pinv(shrink)
    agree(
        answer(answers, small, shrink),
        wanted,
        "the result",
        mistakes={
            "this is the pseudoinverse of the small picture alone: the answer's fine detail is "
            "thrown away.": small @ inverse.T,
            "the answers come back unchanged.": answers,
            "this shrinks to 0: what shrinking sees is taken away, and the small picture is not "
            "put in its place.": answers - answers @ shrink.T @ inverse.T,
            "the small picture is added to what shrinking sees already; add what is missing.": (
                answers + small @ inverse.T
            ),
            "the parts are exchanged: keep what shrinking can *not* see.": (
                (answers @ shrink.T + small) @ inverse.T
            ),
            "what is missing is added through the transpose of the matrix; only the "
            "pseudoinverse undoes the shrinking.": answers + (small - answers @ shrink.T) @ shrink,
            "the sign is wrong: add what the small picture has and the answer lacks.": (
                answers - (small - answers @ shrink.T) @ inverse.T
            ),
        },
    )


def similarity(answer) -> None:
    """SSIM against the package's, with the usual mistakes named."""
    rng = torch.Generator().manual_seed(2)
    a = torch.rand(14, 13, generator=rng, dtype=torch.float64)
    b = (a + 0.3 * torch.randn(14, 13, generator=rng, dtype=torch.float64)).clamp(0, 1)
    wanted = ssim(*(x.expand(1, 3, -1, -1) for x in (a, b)), channel="rgb")[0]

    def with_window(window: torch.Tensor, scale: float = 1.0, padding: int = 0) -> torch.Tensor:
        window = window[None, None].double()
        planes = torch.stack([a, b, a * a, b * b, a * b])[:, None]
        one, two, aa, bb, ab = F.conv2d(planes, window, padding=padding)[:, 0]
        c1, c2 = (0.01 * scale) ** 2, (0.03 * scale) ** 2
        top = (2 * one * two + c1) * (2 * (ab - one * two) + c2)
        return (top / ((one**2 + two**2 + c1) * (aa - one**2 + bb - two**2 + c2))).mean()

    line = torch.exp(-((torch.arange(11).double() - 5) ** 2) / (2 * 1.5**2))
    square = line[:, None] * line
    square = square / square.sum()
    agree(
        answer(a, b),
        wanted,
        "the similarity",
        tolerance=1e-5,
        mistakes={
            "the window's weights do not sum to 1.": with_window(line[:, None] * line),
            "the window is flat; its weights should fall like a Gaussian.": with_window(
                torch.full((11, 11), 1 / 121)
            ),
            "the constants are those of a range of 255; here it is 1.": with_window(square, 255),
            "windows reach over the edge into zeros; take those within the picture alone.": (
                with_window(square, padding=5)
            ),
            "there is one window for the whole picture; it should be 11 by 11 pixels, at every "
            "place.": whole(a, b, 0),
            "there is one window for the whole picture, and it should be 11 by 11 pixels.": (
                whole(a, b, 1)
            ),
            "this is SSIM times -1.": -wanted,
        },
    )
    agree(answer(a, a), 1.0, "the similarity of a picture with itself")
    # Brightness and structure that change together, and a covariance below 0.
    ramp = torch.linspace(0, 1, 13, dtype=torch.float64)
    dark, darker = a * ramp, (0.1 * a + 0.3 * b) * ramp**2
    unequal = ssim(*(x.expand(1, 3, -1, -1) for x in (dark, darker)), channel="rgb")[0]
    agree(
        answer(dark, darker),
        unequal,
        "the similarity of pictures with a dark side",
        tolerance=1e-5,
        mistakes={
            "the factors are averaged one by one; multiply them window by window, and take the "
            "mean of the products.": averaged(dark, darker, square),
        },
    )
    negative = ssim(*(x.expand(1, 3, -1, -1) for x in (a, 1 - a)), channel="rgb")[0]
    agree(
        answer(a, 1 - a),
        negative,
        "the similarity of a picture with its negative",
        tolerance=1e-5,
        mistakes={"a covariance below 0 has lost its sign.": -negative},
    )


def averaged(a: torch.Tensor, b: torch.Tensor, square: torch.Tensor) -> torch.Tensor:
    """Return the product of the factors' means, which is not the mean of their products."""
    planes = torch.stack([a, b, a * a, b * b, a * b])[:, None]
    one, two, aa, bb, ab = F.conv2d(planes, square[None, None])[:, 0]
    light = (2 * one * two + 1e-4) / (one**2 + two**2 + 1e-4)
    structure = (2 * (ab - one * two) + 9e-4) / (aa - one**2 + bb - two**2 + 9e-4)
    return light.mean() * structure.mean()


def whole(a: torch.Tensor, b: torch.Tensor, correction: int) -> torch.Tensor:
    """Return the index from the moments of whole pictures, which is no SSIM."""
    covariance = ((a - a.mean()) * (b - b.mean())).mean()
    variances = a.var(correction=correction) + b.var(correction=correction)
    luminance = (2 * a.mean() * b.mean() + 1e-4) / (a.mean() ** 2 + b.mean() ** 2 + 1e-4)
    return luminance * (2 * covariance + 9e-4) / (variances + 9e-4)


CHECKS = {
    "decibels": decibels,
    "resizing": resizing,
    "agreeing": agreeing,
    "similarity": similarity,
}
