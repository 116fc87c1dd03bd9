"""Checks of the exercises on diffusion models."""

import torch

from .randomness import demand_noise
from .verdict import Wrong, agree, close, must


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
    agree(answer(beta.double()), wanted, "the list of levels for variances in double precision")
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
        must(each.dtype == images.dtype, f"the {what} is {each.dtype}; it should be as the images.")
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
    rest = (1 - alpha_bar[t]).sqrt().float().view(2, 1, 1, 1)
    path = alpha_bar[t].sqrt().float().view(2, 1, 1, 1) * images
    must(not close(noise, path + rest * state), "state and noise are exchanged.")
    must(
        not close(state, path + noise),
        "the noise is returned as it was scaled for the state; the network is to find it unscaled.",
    )
    must(
        abs(float(noise.mean())) < 0.1 and abs(float(noise.std()) - 1) < 0.05,
        "the noise is not standard normal: its mean should be 0 and its deviation 1.",
    )

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
            "the level is that of the step before, and at t = 0 the index -1 leads to the last.": (
                jump(alpha_bar[t - 1])
            ),
        },
    )
    many, none = torch.zeros(10, 3, 10, 10), torch.zeros(10, dtype=torch.int64)
    demand_noise(lambda source: answer(many, alpha_bar, none, source)[1])


def posterior(answer) -> None:
    """The posterior over any stretch, against Bayes' rule on a grid of states."""
    level_t, level_s = 0.2, 0.5
    x0 = torch.tensor([[0.7, -0.2, 1.0], [0.1, -0.9, 0.3]], dtype=torch.float64)
    x_t = torch.tensor([[-0.4, 0.5, 0.2], [0.9, 0.0, -0.7]], dtype=torch.float64)
    grid = torch.linspace(-6, 6, 20_001, dtype=torch.float64)
    kept = level_t / level_s
    log_density = -0.5 * (
        (grid - level_s**0.5 * x0[..., None]) ** 2 / (1 - level_s)
        + (x_t[..., None] - kept**0.5 * grid) ** 2 / (1 - kept)
    )
    weight = log_density.softmax(-1)
    mean = (weight * grid).sum(-1)
    variance = (weight * (grid - mean[..., None]) ** 2).sum(-1).mean()
    found = answer(x0, x_t, level_t, level_s)
    must(isinstance(found, tuple | list) and len(found) == 2, "return the mean and the variance.")
    must(
        isinstance(found[0], torch.Tensor) and found[0].shape == x_t.shape,
        "the mean should be a tensor of the shape of x_t.",
    )
    must(found[0].isfinite().all(), "the mean is not finite: it contains inf or nan.")
    agree(
        single(found[1]),
        variance,
        "the variance",
        mistakes={
            "this is the variance of the noise between s and t; x_0 is known too, which makes "
            "the posterior narrower.": 1 - kept,
            "this is the variance at s given x_0 alone; x_t is known too. (Or level_t stands "
            "where level_t / level_s belongs.)": 1 - level_s,
            "this is the standard deviation; return its square.": variance.sqrt(),
            "the two levels are exchanged.": (1 - level_t) / (1 - level_s) * (1 - kept),
        },
    )
    agree(
        found[0],
        mean,
        "the mean",
        mistakes={
            "this is the mean at s given x_0 alone; x_t is not used.": level_s**0.5 * x0,
            "this is x_t divided by the factor from s to t; x_0 is not used.": x_t / kept**0.5,
            "the factors of x_0 and x_t in the mean are exchanged.": exchanged(x0, x_t, mean),
        },
    )
    mean, variance = answer(x0, x_t, level_t, 1.0)
    agree(mean, x0, "the mean at level 1, which is x_0 itself,")
    agree(single(variance), 0.0, "the variance at level 1")


def single(variance) -> torch.Tensor:
    """Return a variance as a number; it may have axes of length 1."""
    variance = torch.as_tensor(variance)
    must(variance.numel() == 1, "the variance should be one number: it is the same for all of x_s.")
    return variance.double().reshape(())


def exchanged(x0: torch.Tensor, x_t: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """Return a linear combination of x0 and x_t with its two factors exchanged."""
    both = torch.stack([x0.flatten(), x_t.flatten()], dim=1)
    factors = torch.linalg.lstsq(both, mean.flatten()[:, None]).solution
    return (both @ factors.flip(0)).view_as(mean)


def step(answer) -> None:
    """One step of DDIM: its path without noise, its variance, and its end."""
    rng = torch.Generator().manual_seed(3)
    level_t, level_s = 0.3, 0.6
    x0, epsilon = torch.randn(2, 4, generator=rng, dtype=torch.float64).unbind()
    x0 = 3 * x0
    x_t = level_t**0.5 * x0 + (1 - level_t) ** 0.5 * epsilon
    v = level_t**0.5 * epsilon - (1 - level_t) ** 0.5 * x0
    turned = level_t**0.5 * x_t + (1 - level_t) ** 0.5 * v
    wanted = level_s**0.5 * x0 + (1 - level_s) ** 0.5 * epsilon
    calm = answer(x_t, v, level_t, level_s, 0.0, rng)
    must(isinstance(calm, torch.Tensor), "return the new state, a tensor.")
    must(
        torch.equal(calm, answer(x_t, v, level_t, level_s, 0.0, rng)),
        "noise is added although eta is 0.",
    )
    agree(
        calm,
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
            "the state is not changed.": x_t,
            "the picture x_0 is clipped to [-1, 1]; nothing asks for that.": (
                level_s**0.5 * x0.clamp(-1, 1) + (1 - level_s) ** 0.5 * epsilon
            ),
        },
    )
    eta, ratio = 0.7, (1 - level_s) / (1 - level_t) * (1 - level_t / level_s)
    many = answer(x_t.expand(20_000, 4), v.expand(20_000, 4), level_t, level_s, eta, rng)
    must(
        isinstance(many, torch.Tensor) and many.shape == (20_000, 4),
        "the new state should have the shape of the old one.",
    )
    spread = many.std(0).mean()
    agree(
        spread,
        eta * ratio**0.5,
        "the standard deviation of the added noise at eta = 0.7",
        tolerance=0.01,
        mistakes={
            "no noise is added for eta = 0.7, or all states of the batch get the same.": 0.0,
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
    zeros = torch.zeros(20, 3, 10, 10)
    demand_noise(lambda source: answer(zeros, zeros, level_t, level_s, 1.0, source))
    must(
        answer(zeros, zeros, level_t, level_s, 1.0, rng).dtype == torch.float32,
        "for a state in single precision the new one has another type.",
    )
    agree(
        answer(epsilon, -x0, 0.0, level_s, 0.0, rng),
        wanted,
        "the step from pure noise, where level_t is 0 and v is -x_0,",
    )
    agree(answer(x_t, v, level_t, 1.0, 1.0, rng), x0, "the last step, to level 1, with eta = 1,")


CHECKS = {"levels": levels, "noisy": noisy, "posterior": posterior, "step": step}
