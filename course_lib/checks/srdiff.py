"""Checks of the exercises on SRDiff."""

import math

import torch

from .randomness import demand_noise, repeats
from .verdict import agree, must


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


def pair(answer) -> None:
    """State and target of each kind, judged by the noise that is found in the state."""
    rng = torch.Generator().manual_seed(0)
    alpha_bar = torch.tensor([0.9, 0.5, 0.2], dtype=torch.float64)
    t = torch.tensor([2, 0, 1, 0, 2, 1] * 6)
    x0 = torch.randn(36, 2, 20, 36, generator=rng)
    level = alpha_bar[t].float().view(36, 1, 1, 1)
    a, b = level.sqrt(), (1 - level).sqrt()

    found = {}
    for kind in ("x0", "epsilon", "velocity"):
        both = answer(x0, alpha_bar, t, kind, torch.Generator().manual_seed(1))
        must(
            isinstance(both, tuple | list) and len(both) == 2,
            "return two tensors, the noisy residuals and the targets.",
        )
        for what, each in zip(("noisy residuals", "targets"), both, strict=True):
            must(isinstance(each, torch.Tensor), f"the {what} are no tensor (kind {kind!r}).")
            must(
                each.shape == x0.shape,
                f"the {what} have shape {tuple(each.shape)}, but should have {tuple(x0.shape)}.",
            )
            must(each.dtype == x0.dtype, f"the {what} are {each.dtype}; they should be like x0.")
            must(each.isfinite().all(), f"the {what} contain inf or nan.")
        found[kind] = both
    must(
        torch.equal(found["x0"][0], found["velocity"][0]),
        "the same generator gives other noisy residuals, or the kind of target changes them: only "
        "the target depends on it.",
    )
    nothing, first = torch.zeros(20, 2, 10, 10), torch.zeros(20, dtype=torch.int64)
    demand_noise(lambda source: answer(nothing, alpha_bar, first, "x0", source)[0])
    state = found["x0"][0]

    def sizes(of_x0: torch.Tensor, of_noise: torch.Tensor) -> bool:
        """Whether the states are this much of the residual and this much of standard noise."""
        share = (state * x0).mean((1, 2, 3)) / x0.square().mean((1, 2, 3))
        rest = (state - of_x0 * x0).flatten(1).std(1)
        return bool(
            (share - of_x0.flatten()).abs().max() < 0.15
            and (rest - of_noise.flatten()).abs().max() < 0.06
        )

    def factors(levels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        levels = levels.float().view(-1, 1, 1, 1)
        return levels.sqrt(), (1 - levels).sqrt()

    before = torch.cat([alpha_bar.new_ones(1), alpha_bar])
    for explanation, of_x0, of_noise in (
        ("the noise is multiplied by 1 - alpha_bar, its variance; take the root.", a, b * b),
        ("the residual is multiplied by alpha_bar itself; take the root.", a * a, b),
        ("no root is taken of alpha_bar and 1 - alpha_bar.", a * a, b * b),
        ("the factors are exchanged: alpha_bar is the share of the residual.", b, a),
        ("all residuals are taken to the first one's time.", *factors(alpha_bar[t[:1]].expand(36))),
        (
            "the level is that of the step before: alpha_bar[t] is the level after step t.",
            *factors(before[t]),
        ),
        (
            "alpha_bar[t - 1] is used; alpha_bar[t] is the level after step t, and at t = 0 the "
            "index -1 is the last entry.",
            *factors(alpha_bar[t - 1]),
        ),
    ):
        must(not sizes(of_x0, of_noise), explanation)
    rest_of_columns = (state - a.view(36) * x0).std((0, 1, 2))
    must(
        (rest_of_columns - b.view(36)).abs().max() > 0.06,
        "the levels run along the columns instead of the residuals: give them the shape "
        "(N, 1, 1, 1) first.",
    )
    must(
        sizes(a, b),
        "the states are not sqrt(alpha_bar) times the residual plus sqrt(1 - alpha_bar) times "
        "standard normal noise, with the level of each residual's own time.",
    )
    noise = (state - a * x0) / b
    must(
        float((noise[0] * noise[1]).mean().abs()) < 0.2,
        "all residuals of the batch have the same noise; each needs its own.",
    )
    must(
        float((noise[:, 0] * noise[:, 1]).mean().abs()) < 0.2,
        "the channels share their noise; every number needs its own.",
    )
    agree(
        found["x0"][1],
        x0,
        "the target of the kind 'x0'",
        mistakes={
            "for the kind 'x0' the target is the noise.": noise,
            "for the kind 'x0' the target is the noisy residual; the clean one is asked for.": (
                state
            ),
        },
    )
    target = found["epsilon"][1]
    unrelated = all(float((target * each).mean().abs()) < 0.1 for each in (noise, x0))
    must(
        not (unrelated and 0.9 < float(target.std()) < 1.1),
        "the target of the kind 'epsilon' is another noise than that in the state: draw once, and "
        "use it for both.",
    )
    agree(
        target,
        noise,
        "the target of the kind 'epsilon'",
        tolerance=1e-3,
        mistakes={
            "for the kind 'epsilon' the target is the noise as it was scaled for the state; the "
            "standard normal noise is asked for.": b * noise,
            "for the kind 'epsilon' the target is the residual.": x0,
            "for the kind 'epsilon' the sign of the noise is wrong.": -noise,
        },
    )
    agree(
        found["velocity"][1],
        a * noise - b * x0,
        "the target of the kind 'velocity'",
        tolerance=1e-3,
        mistakes={
            "the velocity has the wrong sign.": b * x0 - a * noise,
            "the velocity's two factors are exchanged: the noise has the root of alpha_bar.": (
                b * noise - a * x0
            ),
            "the velocity is a difference, not a sum: at the next moment there is less of the "
            "residual.": a * noise + b * x0,
            "for the kind 'velocity' the target is the difference of noise and residual without "
            "their factors.": noise - x0,
            "for the kind 'velocity' the target is the noise.": noise,
        },
    )


def walk(answer) -> None:
    """The walk: its times, its end, and the Gaussian whose result is known in closed form."""
    alpha_bar = torch.tensor([0.95, 0.9, 0.7, 0.5, 0.2, 0.05], dtype=torch.float64)
    times = [5, 3, 1]
    rng = torch.Generator().manual_seed(0)
    start = torch.randn(4, 2, 3, generator=rng, dtype=torch.float64)
    a, b = [*alpha_bar.sqrt().tolist(), 1.0], [*(1 - alpha_bar).sqrt().tolist(), 0.0]
    asked = []

    def constant(x, t):
        must(
            isinstance(t, torch.Tensor) and t.shape == (len(x),) and t.dtype == torch.int64,
            "denoise must be called with a time for each state, an int64 tensor (N,).",
        )
        asked.append(int(t[0]))
        return torch.full_like(x, 0.4)

    end = answer(constant, start, times, alpha_bar, 0.0, rng)
    must(asked, "denoise is never called.")
    if asked != times:
        must(
            asked != times[::-1],
            "the times are taken in the wrong order: the walk begins at times[0], where the noise "
            "is strongest.",
        )
        must(
            len(asked) != len(alpha_bar),
            "the walk goes through all T times; only the given ones are asked for.",
        )
        must(
            asked[1:] != times or len(asked) != 4,
            "denoise is called once too often: it is called once for each of the times.",
        )
        must(
            asked != times[:-1],
            "denoise is never asked at the last of the times: the step from there leads to the "
            "clean residual.",
        )
        must(False, f"denoise is asked at the times {asked}, but should be at {times}.")
    kept = torch.full_like(start, 0.4)
    noise = (start - a[5] * kept) / b[5]
    singly = start
    for t, s in ((5, 4), (3, 2), (1, 0)):
        singly = a[s] * kept + b[s] / b[t] * (singly - a[t] * kept)
    agree(
        end,
        kept,
        "the result for a denoiser that always says 0.4, which must be 0.4,",
        mistakes={
            "the last step goes to the index -1, and alpha_bar[-1] is the noisiest level; the "
            "clean residual has the level 1.": start,
            "the last step ends at alpha_bar[0]; the clean residual has the level 1.": (
                a[0] * kept + b[0] * noise
            ),
            "the last step is missing: this is the state at the last of the times.": (
                a[1] * kept + b[1] * noise
            ),
            "each step goes back by a single time; it must go to the next of the given times.": (
                singly
            ),
        },
    )
    stirred = answer(constant, start, times, alpha_bar, 1.0, rng)
    must(
        not isinstance(stirred, torch.Tensor) or (stirred - kept).abs().max() < 1e-6,
        "noise is added at the last step: there the result is the estimate itself, for every eta.",
    )

    mean, std = 0.5, 0.6

    def gaussian(x, t):
        k = int(t[0])
        return mean + a[k] * std**2 / (a[k] ** 2 * std**2 + b[k] ** 2) * (x - a[k] * mean)

    def product(path: list[tuple[int, int]], power: int = 1) -> torch.Tensor:
        """Where the walk ends, by the theorem; the noise's factors may be raised to a power."""
        factor = 1.0
        for t, s in path:
            gain = a[t] * std**2 / (a[t] ** 2 * std**2 + b[t] ** 2)
            factor *= a[s] * gain + (b[s] / b[t]) ** power * (1 - a[t] * gain)
        return a[path[-1][1]] * mean + factor * (start - a[5] * mean)

    path = [(5, 3), (3, 1), (1, -1)]
    agree(
        answer(gaussian, start, times, alpha_bar, 0.0, rng),
        product(path),
        "the result for Gaussian residuals with the exact denoiser, eta = 0,",
        mistakes={
            "the noise has the factor 1 - alpha_bar, its variance; take the root, both where the "
            "noise is found and where it is put back.": product(path, 2),
            "the state's noise is put back with its old factor; it must shrink to that of the "
            "new level.": product(path, 0),
            "this is the estimate at the first time; every step needs a new one.": (
                gaussian(start, torch.tensor([5]))
            ),
        },
    )
    eta = 0.8
    begin = start.new_tensor([a[5] * mean]).expand(40_000, 1)
    many = answer(gaussian, begin, times, alpha_bar, eta, torch.Generator().manual_seed(2))
    must(
        isinstance(many, torch.Tensor) and many.shape == begin.shape,
        "the result should have the shape of the start.",
    )
    must(
        repeats(
            lambda: answer(gaussian, begin, times, alpha_bar, eta, torch.Generator().manual_seed(2))
        ),
        "the same generator gives other results: draw all noise from the generator.",
    )
    must(
        float(many.std()) > 1e-3,
        "no noise is added for eta = 0.8, or all states of the batch get the same.",
    )

    def spread(power: float = 1.0, taken: bool = True, of_stretch: bool = False) -> float:
        """Return the standard deviation of the results from one start."""
        variance = 0.0
        for t, s in path:
            sigma2 = eta ** (2 * power) * (1 - a[t] ** 2 / a[s] ** 2)
            sigma2 *= 1.0 if of_stretch else b[s] ** 2 / b[t] ** 2
            rest = math.sqrt(max(b[s] ** 2 - (sigma2 if taken else 0.0), 0.0))
            gain = a[t] * std**2 / (a[t] ** 2 * std**2 + b[t] ** 2)
            variance = (a[s] * gain + rest / b[t] * (1 - a[t] * gain)) ** 2 * variance + sigma2
        return math.sqrt(variance)

    agree(
        many.std(),
        spread(),
        "the standard deviation of the results at eta = 0.8, from one start,",
        tolerance=0.015,
        mistakes={
            "the variance of the added noise must be taken from that of the old noise: "
            "1 - alpha_bar_s - sigma squared.": spread(taken=False),
            "eta multiplies the variance; it should multiply the standard deviation.": spread(0.5),
            "the added noise has the variance of the stretch between the two times; a smaller one "
            "belongs to a step back.": spread(of_stretch=True),
        },
    )
    agree(many.mean(), mean, "the mean of the results at eta = 0.8", tolerance=0.02)
    agree(
        answer(lambda x, t: torch.full_like(x, 9.0), start, [4, 2], alpha_bar, 0.0, rng),
        torch.full_like(start, 9.0),
        "the result for a denoiser that always says 9, which must be 9,",
        mistakes={
            f"estimates are clipped to [-{k}, {k}]; nothing asks for that.": (
                torch.full_like(start, float(k))
            )
            for k in (1, 2, 3)
        },
    )
    demand_noise(lambda source: second_state(answer, times, alpha_bar, source))
    single = answer(constant, start.float(), [4], alpha_bar, 0.5, rng)
    must(
        single.dtype == torch.float32,
        f"the result is {single.dtype} for a start in single precision; it should be like x_T.",
    )


def second_state(answer, times: list[int], alpha_bar: torch.Tensor, source) -> torch.Tensor:
    """Return the state that is shown second on a walk from 0 whose estimates are 0: noise."""
    seen = []

    def nothing(x, t):
        seen.append(x.clone())
        return torch.zeros_like(x)

    answer(nothing, torch.zeros(20, 3, 10, 10), times, alpha_bar, 1.0, source)
    return seen[1]


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
