"""Checks of what SRDiff's network is shown, and of the walk of its samplers."""

import math

import torch

from .randomness import demand_noise, repeats
from .verdict import agree, must


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
