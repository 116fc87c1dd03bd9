"""Checks of the exercises on diffusion models."""

import torch

from .verdict import Wrong, agree, must, repeats


def levels(answer) -> None:
    """The levels of a schedule: constants found by hand, and the precision."""
    beta = torch.tensor([0.5, 0.2, 0.1])
    wanted = torch.tensor([1.0, 0.5, 0.4, 0.36], dtype=torch.float64)
    found = answer(beta)
    agree(
        found,
        wanted,
        "the list of levels",
        mistakes={
            "the level 1 of the clean picture is missing at the beginning.": wanted[1:],
            "the last level is missing: there are T + 1 levels for T steps.": wanted[:-1],
            "the first level is that after the first step; it should be 1.": (wanted[[1, 1, 2, 3]]),
            "the variances are summed; what is left must be multiplied.": (
                torch.tensor([1.0, 0.5, 0.3, 0.2])
            ),
            "these are the factors 1 - beta of single steps, not their products.": (
                torch.tensor([1.0, 0.5, 0.8, 0.9])
            ),
            "these are the products of beta itself, not of 1 - beta.": (
                torch.tensor([1.0, 0.5, 0.1, 0.01])
            ),
        },
    )
    must(
        found.dtype == torch.float64,
        f"the levels are {found.dtype}; calculate in double precision, torch.float64.",
    )
    small = torch.full((1000,), 1e-4)
    exact = (1 - small.double()[0]) ** 1000
    if abs(float(answer(small)[-1]) / float(exact) - 1) > 1e-9:
        raise Wrong(
            "after a thousand small steps the level has lost digits: go to double precision "
            "*before* you take 1 - beta."
        )


def noisy(answer) -> None:
    """The jump to a time for each picture: shapes, factors, and noise for each number."""
    rng = torch.Generator().manual_seed(0)
    alpha_bar = torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)
    t = torch.tensor([2, 0])
    images = 2 * torch.rand(2, 3, 30, 30, generator=rng) - 1
    found = answer(images, alpha_bar, t, torch.Generator().manual_seed(1))
    must(isinstance(found, tuple | list) and len(found) == 2, "return the states and the noise.")
    state, noise = found
    for what, each in (("state", state), ("noise", noise)):
        must(isinstance(each, torch.Tensor), f"the {what} is no tensor.")
        must(
            each.shape == images.shape,
            f"the {what} has shape {tuple(each.shape)}, but should have {tuple(images.shape)}.",
        )
    must(
        not torch.equal(noise[0], noise[1]),
        "all pictures of the batch have the same noise; each needs its own.",
    )
    must(
        not torch.equal(noise[:, 0], noise[:, 1]),
        "the channels share their noise; every number needs its own.",
    )
    must(
        abs(float(noise.mean())) < 0.1 and abs(float(noise.std()) - 1) < 0.05,
        "the noise is not standard normal: its mean should be 0 and its deviation 1.",
    )
    must(noise.abs().max() > 2.5, "the noise is uniform, not normal: take torch.randn.")

    def jump(kept: torch.Tensor) -> torch.Tensor:
        kept = kept.float().view(-1, 1, 1, 1)
        return kept.sqrt() * images + (1 - kept).sqrt() * noise

    kept = alpha_bar[t].float().view(2, 1, 1, 1)
    agree(
        state,
        jump(alpha_bar[t]),
        "the state",
        mistakes={
            "the noise is multiplied by 1 - alpha_bar, its variance; take the root.": (
                kept.sqrt() * images + (1 - kept) * noise
            ),
            "the picture is multiplied by alpha_bar itself; take the root.": (
                kept * images + (1 - kept).sqrt() * noise
            ),
            "no root is taken of alpha_bar and 1 - alpha_bar.": kept * images + (1 - kept) * noise,
            "the factors are exchanged: alpha_bar is the share of the picture.": (
                (1 - kept).sqrt() * images + kept.sqrt() * noise
            ),
            "all pictures are taken to the first one's time.": jump(alpha_bar[t[:1]].expand(2)),
            "the level is that of the step before; t = 0 is the first noisy state.": (
                jump(torch.cat([torch.ones(1).double(), alpha_bar])[t])
            ),
        },
    )
    must(state.dtype == images.dtype, f"the state is {state.dtype}; it should be as the images.")
    must(
        repeats(lambda: answer(images, alpha_bar, t, torch.Generator().manual_seed(1))[1]),
        "the same generator gives other noise: draw all from it.",
    )


def posterior(answer) -> None:
    """The posterior over any stretch, against Bayes' rule on a grid of states."""
    level_t, level_s, x0, x_t = 0.2, 0.5, 0.7, -0.4
    grid = torch.linspace(-6, 6, 200_001, dtype=torch.float64)
    kept = level_t / level_s
    log_density = -0.5 * (
        (grid - level_s**0.5 * x0) ** 2 / (1 - level_s) + (x_t - kept**0.5 * grid) ** 2 / (1 - kept)
    )
    weight = torch.softmax(log_density, 0)
    mean = (weight * grid).sum()
    variance = (weight * (grid - mean) ** 2).sum()
    found = answer(torch.tensor([x0]).double(), torch.tensor([x_t]).double(), level_t, level_s)
    must(isinstance(found, tuple | list) and len(found) == 2, "return the mean and the variance.")
    must(
        isinstance(found[0], torch.Tensor) and found[0].shape == (1,),
        "the mean should be a tensor of the shape of x_t.",
    )
    must(found[0].isfinite().all(), "the mean is not finite: it contains inf or nan.")
    agree(
        torch.as_tensor(found[1]).double().squeeze(),
        variance,
        "the variance",
        mistakes={
            "this is the variance of the noise between s and t; x_0 is known too, which makes "
            "the posterior narrower.": 1 - kept,
            "this is the variance at s given x_0 alone; x_t is known too.": 1 - level_s,
            "this is the standard deviation; return its square.": variance.sqrt(),
            "the two levels are exchanged.": (1 - level_t) / (1 - level_s) * (1 - kept),
        },
    )
    swapped = answer(torch.tensor([x_t]).double(), torch.tensor([x0]).double(), level_t, level_s)
    must(
        abs(float(swapped[0]) - float(mean)) > 1e-4,
        "the factors of x_0 and x_t in the mean are exchanged.",
    )
    agree(
        found[0],
        mean[None],
        "the mean",
        mistakes={
            "this is the mean at s given x_0 alone; x_t is not used.": torch.tensor(
                [level_s**0.5 * x0]
            ).double(),
            "this is x_t divided by the factor from s to t; x_0 is not used.": torch.tensor(
                [x_t / kept**0.5]
            ).double(),
        },
    )
    at_the_data = answer(torch.tensor([x0]).double(), torch.tensor([x_t]).double(), level_t, 1.0)
    agree(at_the_data[0], torch.tensor([x0]).double(), "the mean at level 1, which is x_0 itself,")


def step(answer) -> None:
    """One step of DDIM: its path without noise, its variance, and its end."""
    rng = torch.Generator().manual_seed(3)
    level_t, level_s = 0.3, 0.6
    x0, epsilon = torch.randn(2, 4, generator=rng, dtype=torch.float64).unbind()
    x_t = level_t**0.5 * x0 + (1 - level_t) ** 0.5 * epsilon
    v = level_t**0.5 * epsilon - (1 - level_t) ** 0.5 * x0
    turned = level_t**0.5 * x_t + (1 - level_t) ** 0.5 * v
    wanted = level_s**0.5 * x0 + (1 - level_s) ** 0.5 * epsilon
    agree(
        answer(x_t, v, level_t, level_s, 0.0, rng),
        wanted,
        "the step without noise (eta = 0)",
        mistakes={
            "v has the wrong sign in x_0 or in epsilon.": (
                level_s**0.5 * turned
                + (1 - level_s) ** 0.5 * ((1 - level_t) ** 0.5 * x_t - level_t**0.5 * v)
            ),
            "v is taken for the noise; it is a mix of noise and picture.": (
                level_s**0.5 * (x_t - (1 - level_t) ** 0.5 * v) / level_t**0.5
                + (1 - level_s) ** 0.5 * v
            ),
            "v is taken for the picture x_0; it is a mix of noise and picture.": (
                level_s**0.5 * v
                + (1 - level_s) ** 0.5 * (x_t - level_t**0.5 * v) / (1 - level_t) ** 0.5
            ),
            "the noise is multiplied by 1 - alpha_bar; take the root.": (
                level_s**0.5 * x0 + (1 - level_s) * epsilon
            ),
            "noise is added although eta is 0, or the state is not changed.": x_t,
        },
    )
    eta, ratio = 0.7, (1 - level_s) / (1 - level_t) * (1 - level_t / level_s)
    many = answer(x_t.expand(20_000, 4), v.expand(20_000, 4), level_t, level_s, eta, rng)
    must(many.shape == (20_000, 4), "the new state should have the shape of the old one.")
    spread = many.std(0).mean()
    agree(
        spread,
        eta * ratio**0.5,
        "the standard deviation of the added noise at eta = 0.7",
        tolerance=0.01,
        mistakes={
            "no noise is added for eta = 0.7.": 0.0,
            "eta multiplies the variance; it should multiply the standard deviation.": (
                eta**0.5 * ratio**0.5
            ),
            "the added noise is multiplied by its variance; take the root.": eta**2 * ratio,
            "the noise has the variance of the stretch from s to t; that of the posterior is "
            "smaller, and 0 at the last step.": eta * (1 - level_t / level_s) ** 0.5,
        },
    )
    agree(
        many.mean(0),
        level_s**0.5 * x0 + (1 - level_s - eta**2 * ratio) ** 0.5 * epsilon,
        "the mean of the step at eta = 0.7",
        tolerance=0.02,
        mistakes={
            "the variance of the added noise must be taken from that of the old noise: "
            "1 - alpha_bar_s - sigma squared.": wanted
        },
    )
    centred = (many - many.mean(0)) / many.std(0)
    must(
        float((centred[:, 0] * centred[:, 1]).mean().abs()) < 0.1,
        "the numbers of a state share their noise; each needs its own.",
    )
    must(
        repeats(lambda: answer(x_t, v, level_t, level_s, eta, rng.manual_seed(8))),
        "the same generator gives other noise: draw all from it.",
    )
    agree(answer(x_t, v, level_t, 1.0, 1.0, rng), x0, "the last step, to level 1, with eta = 1,")


CHECKS = {"levels": levels, "noisy": noisy, "posterior": posterior, "step": step}
