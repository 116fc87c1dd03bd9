"""Checks of the exercises on SRDiff."""

import torch

from .verdict import agree, must
from .walks import pair, walk


def residual(answer) -> None:
    """The scaled residual of three values that can be found by hand, and its broadcasting."""
    hr = torch.tensor([0.75, 0.5, 0.25]).view(1, 3, 1, 1).repeat(1, 1, 2, 2)
    base = torch.tensor([0.5, 0.625, 1.0]).view(1, 3, 1, 1).repeat(1, 1, 2, 2)
    spread = torch.tensor([1.0, 0.5, 2.0, 1.0]).view(1, 1, 2, 2)

    def shaped(*rows: list[float]) -> torch.Tensor:
        return torch.tensor(rows).view(1, 3, 2, 2)

    found = answer(hr, base, spread, 3.0, 2.0)
    agree(
        found,
        shaped([1.5, 2.0, 0.75, 1.5], [-0.75, -1.5, -0.375, -0.75], [-2.0, -2.0, -2.0, -2.0]),
        "the residual",
        mistakes={
            "the residual has the wrong sign: it is what the base lacks, the image minus the base, "
            "so that it can be added again.": shaped(
                [-1.5, -2.0, -0.75, -1.5], [0.75, 1.5, 0.375, 0.75], [2.0, 2.0, 2.0, 2.0]
            ),
            "a factor 2 is missing: the pictures are in [0, 1], but factor and spread belong to "
            "pictures in [-1, 1].": shaped(
                [0.75, 1.5, 0.375, 0.75],
                [-0.375, -0.75, -0.1875, -0.375],
                [-2.0, -2.0, -1.125, -2.0],
            ),
            "the factor c is not used.": shaped(
                [0.5, 1.0, 0.25, 0.5], [-0.25, -0.5, -0.125, -0.25], [-1.5, -2.0, -0.75, -1.5]
            ),
            "the spread is not used.": shaped([1.5] * 4, [-0.75] * 4, [-2.0] * 4),
            "the residual is multiplied by the spread; divide by it, so that it has the same size "
            "everywhere.": shaped(
                [1.5, 0.75, 2.0, 1.5], [-0.75, -0.375, -1.5, -0.75], [-2.0, -2.0, -2.0, -2.0]
            ),
            "the residual is not clipped, or clipped before it is scaled: the limit is one for the "
            "scaled residual.": shaped(
                [1.5, 3.0, 0.75, 1.5], [-0.75, -1.5, -0.375, -0.75], [-4.5, -9.0, -2.25, -4.5]
            ),
            "only large values are bounded; the limit holds for negative ones too.": shaped(
                [1.5, 2.0, 0.75, 1.5], [-0.75, -1.5, -0.375, -0.75], [-4.5, -9.0, -2.25, -4.5]
            ),
            "this is the image itself, scaled, and not its residual from the base.": shaped(
                [2.0, 2.0, 2.0, 2.0], [2.0, 2.0, 1.5, 2.0], [1.5, 2.0, 0.75, 1.5]
            ),
            "this is the scaled image itself, and not its residual from the base.": shaped(
                [1.5, 2.0, 0.75, 1.5], [0.0] * 4, [-1.5, -2.0, -0.75, -1.5]
            ),
            "the residual is divided by the factor c; multiply by it.": shaped(
                [1 / 6, 1 / 3, 1 / 12, 1 / 6],
                [-1 / 12, -1 / 6, -1 / 24, -1 / 12],
                [-0.5, -1.0, -0.25, -0.5],
            ),
            "the base is still in [0, 1], while the image is brought to [-1, 1].": shaped(
                [0.0] * 4, [-1.875, -2.0, -0.9375, -1.875], [-2.0] * 4
            ),
            "residuals are clipped to [0, limit]; half of them are negative.": shaped(
                [1.5, 2.0, 0.75, 1.5], [0.0] * 4, [0.0] * 4
            ),
        },
    )
    must(found.dtype == hr.dtype, f"the residual is {found.dtype}; it should be as the images.")
    two = (torch.cat([hr, base]), torch.cat([base, hr]), torch.cat([spread, 3 * spread]))
    agree(
        answer(*two, 3.0, 2.0),
        torch.cat([found, answer(base, hr, 3 * spread, 3.0, 2.0)]),
        "the residuals of two images, each with a spread of its own,",
    )
    high = answer(hr, torch.full_like(hr, 1.05), torch.full_like(spread, 6.0), 3.0, 2.0)
    agree(
        high,
        shaped([-0.3] * 4, [-0.55] * 4, [-0.8] * 4),
        "the residual from a base that overshoots to 1.05",
        mistakes={
            "the base is clipped to [0, 1] first; use it as it is, since it is added again as it "
            "is.": shaped([-0.25] * 4, [-0.5] * 4, [-0.75] * 4),
        },
    )


def picture(answer) -> None:
    """The way back: detail of both signs, the limit, the last clipping, a base that overshoots."""
    ones = torch.ones(1, 3, 1, 1)

    def one(estimate: float, base: float):
        spread = torch.full((1, 1, 1, 1), 0.6)
        return answer(estimate * ones, base * ones, spread, 3.0, 1.5)

    agree(
        one(0.3, 0.5),
        0.53 * ones,
        "the picture for an estimate of 0.3 on a base of 0.5 (spread 0.6, factor 3)",
        mistakes={
            "the factor 2 of the other range is missing: an estimate is detail for pictures in "
            "[-1, 1], which is twice as large as in [0, 1].": 0.56 * ones,
            "the detail is not divided by the factor c.": 0.59 * ones,
            "the detail is neither divided by c nor brought to the range [0, 1].": 0.68 * ones,
            "the detail is multiplied by c; divide by it, as the way there multiplied.": (
                0.77 * ones
            ),
            "the spread is not used.": 0.55 * ones,
            "the detail is divided by the spread; multiply by it, as the way there divided.": (
                (0.5 + 0.3 / 0.6 / 6) * ones
            ),
            "the detail is subtracted from the base; add it.": 0.47 * ones,
            "the result is in [-1, 1]; bring it to [0, 1].": 0.06 * ones,
            "the base is not added.": 0.03 * ones,
            "the base is taken as if it were in [-1, 1], but it is in [0, 1].": 0.78 * ones,
            "this is the base without any detail.": 0.5 * ones,
        },
    )
    agree(
        one(-0.3, 0.5),
        0.47 * ones,
        "the picture for an estimate of -0.3 on a base of 0.5 (spread 0.6, factor 3)",
        mistakes={
            "negative detail is lost: something is clipped to [0, 1] before it is added to the "
            "base, or while it is still in [-1, 1]. Add first, bring it to [0, 1], clip then.": (
                0.5 * ones
            ),
        },
    )
    agree(
        one(-4.0, 0.5),
        0.35 * ones,
        "the picture for an estimate of -4, beyond the limit of 1.5,",
        mistakes={
            "the estimate is not limited, or only above, or only after it was scaled: it must be "
            "clipped to [-limit, limit], as the residuals were that the network learned from.": (
                0.1 * ones
            ),
            "the estimate is clipped to [-1, 1]; the limit is given as an argument.": 0.4 * ones,
        },
    )
    agree(
        one(4.0, 0.95),
        1.0 * ones,
        "a value of the picture that would be above 1",
        mistakes={"the picture is not clipped to [0, 1] at the end.": 1.1 * ones},
    )
    agree(
        one(-4.0, 0.05),
        0.0 * ones,
        "a value of the picture that would be below 0",
        mistakes={"the picture is not clipped to [0, 1] at the end.": -0.1 * ones},
    )
    agree(
        one(-0.3, 1.02),
        0.99 * ones,
        "the picture for a base that overshoots to 1.02 and an estimate of -0.3",
        mistakes={
            "the base is clipped before the residual is added: the residual was taken from the "
            "base as it is, so it must be added to the same.": 0.97 * ones,
        },
    )
    spread = torch.tensor([0.5, 1.0]).view(1, 1, 1, 2)
    estimate = torch.tensor([0.8, -0.8, 0.4]).view(1, 3, 1, 1).repeat(1, 1, 1, 2)
    grey = torch.full((1, 3, 1, 2), 0.5)
    found = answer(estimate, grey, spread, 2.0, 1.5)
    agree(
        found,
        torch.tensor([[0.6, 0.7], [0.4, 0.3], [0.55, 0.6]]).view(1, 3, 1, 2),
        "a picture with two spreads and three channels",
    )
    must(found.dtype == estimate.dtype, f"the picture is {found.dtype}, unlike the estimate.")
    two = (estimate.repeat(2, 1, 1, 1), grey.repeat(2, 1, 1, 1), torch.cat([spread, spread / 2]))
    agree(
        answer(*two, 2.0, 1.5),
        torch.cat([found, answer(estimate, grey, spread / 2, 2.0, 1.5)]),
        "the pictures of two images, each with a spread of its own,",
    )


def forecast(answer) -> None:
    """The error of a mean of answers: three answers to two images, by hand."""
    answers = torch.tensor([[1.0, 0.0], [2.0, 3.0], [6.0, 3.0]]).view(3, 2, 1, 1, 1)
    answers = torch.cat([answers, 2 * answers], dim=4)  # two pixels: the second twice as large
    hr = torch.tensor([[8.0, 6.0], [1.0, 4.0]]).view(2, 1, 1, 2)
    S, of_mean = torch.tensor([17.5, 7.5]), torch.tensor([12.5, 0.5])
    B = of_mean - S / 3
    found = answer(answers, hr, 1.0, 1)
    agree(
        found,
        B + S,
        "the error of a single answer at the temperature 1",
        mistakes={
            "this is B + S/K + S/n: the squared error of the mean of K answers is not B yet; take "
            "S/K away from it.": of_mean + S,
            "this is the error of the mean of all K answers; the mean of n is asked for.": of_mean,
            "the variance is divided by K instead of K - 1, and so too small on average.": (
                of_mean + S * 2 / 3 - S * 2 / 9
            ),
            "a negative estimate of B is set to 0; then it is too large on average.": (
                B.clamp(min=0) + S
            ),
            "this is S alone; the error of the mean, B, is missing.": S,
            "this is B alone; the variance of the answers is missing.": B,
            "this is the mean error of single answers plus S; S is in that error already.": (
                B + 2 * S
            ),
            "S/K is added to the error of the mean; take it away, since the mean of K answers has "
            "that much more than B.": of_mean + S / 3 + S,
            "the errors are averaged over the images; one number for each is asked for.": (
                (B + S).mean()
            ),
            "the errors are summed over the pixels; the mean is asked for.": 2 * (B + S),
            "this is the root of the error; the squared error is asked for.": (B + S).sqrt(),
        },
    )
    agree(
        answer(answers, hr, 1.0, 4),
        B + S / 4,
        "the error of a mean of 4 answers at the temperature 1",
        mistakes={
            "the number n of answers in the mean is not used.": B + S,
            "the whole error is divided by n; only the variance is, as the error of the mean of "
            "infinitely many stays.": (B + S) / 4,
            "the variance is divided by the root of n; divide by n itself.": B + S / 2,
            "the variance is divided by the square of n; divide by n itself.": B + S / 16,
            "K and n are exchanged.": of_mean - S / 4 + S / 3,
        },
    )
    agree(
        answer(answers, hr, 0.5, 2),
        B + S / 8,
        "the error of a mean of 2 answers at the temperature 0.5",
        mistakes={
            "the temperature is not used.": B + S / 2,
            "the temperature multiplies the variance; it multiplies the deviation, and so its "
            "square the variance.": B + S / 4,
            "the temperature multiplies B too; the mean of the answers does not depend on it.": (
                (B + S / 2) / 4
            ),
            "the temperature divides; a low one makes the answers alike.": B + S * 2,
            "S/K is multiplied by the temperature too; it belongs to the K answers that were "
            "measured at the temperature 1.": of_mean - S / 12 + S / 8,
        },
    )
    agree(
        answer(answers, hr, 0.0, 1),
        B,
        "the error at the temperature 0",
        mistakes={
            "a negative result is set to 0; then it is too large on average.": B.clamp(min=0),
        },
    )


CHECKS = {
    "residual": residual,
    "picture": picture,
    "pair": pair,
    "walk": walk,
    "forecast": forecast,
}
