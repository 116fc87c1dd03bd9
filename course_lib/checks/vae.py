"""Checks of the exercises on variational autoencoders."""

import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from .randomness import repeats
from .verdict import Wrong, agree, must

COUNT = 4000


def draws(answer) -> None:
    """Draws z from the encoder's Gaussian: shape, moments, independence, gradients."""
    rng = torch.Generator().manual_seed(0)
    mean = torch.tensor([[1.0, -2.0], [0.5, 3.0]], requires_grad=True)
    log_variance = torch.tensor([[0.0, 2.0], [-2.0, 1.0]], requires_grad=True)
    std = (log_variance / 2).exp().detach()
    many = answer(mean, log_variance, COUNT, rng)
    must(isinstance(many, torch.Tensor), "draws must return a tensor.")
    must(
        many.shape == (COUNT, 2, 2),
        f"the draws have shape {tuple(many.shape)}, but should have (K, N, d) = ({COUNT}, 2, 2).",
    )
    spread = many.detach().std(0)
    must(
        (spread > 0.01).all(),
        "all draws of an image are the same: each of the K needs noise of its own.",
    )
    agree(
        spread / std,
        torch.ones(2, 2),
        "the draws' standard deviation, as a multiple of the right one,",
        tolerance=0.05,
        mistakes={
            "the spread is the variance: the noise must be multiplied by the standard "
            "deviation, exp(log_variance / 2).": std,
            "the spread is exp(log_variance / 4), which is no standard deviation.": std**-0.5,
        },
    )
    agree(many.detach().mean(0), mean.detach(), "the draws' mean", tolerance=0.15)
    noise = (many.detach() - mean.detach()) / std
    shared = torch.corrcoef(noise.flatten(1).T).abs() > 0.1
    must(
        not shared[0, 1] and not shared[2, 3],
        "the latent numbers of an image share their noise: each needs its own.",
    )
    must(
        not shared[0, 2] and not shared[1, 3] and not shared[0, 3] and not shared[1, 2],
        "the images share their noise: each needs its own.",
    )
    must(
        ((noise**4).mean(0) > 2.4).all(),
        "the noise is not normal: it is too seldom far from 0, as uniform numbers are.",
    )
    must(
        many.requires_grad,
        "no gradient flows into mean and log_variance: a sampler or a detach cuts it off.",
    )
    gradients = torch.autograd.grad(many.sum(), (mean, log_variance), allow_unused=True)
    must(gradients[0] is not None, "no gradient flows into the mean.")
    must(gradients[1] is not None, "no gradient flows into log_variance.")
    agree(gradients[0] / COUNT, torch.ones(2, 2), "the derivative of z by the mean")
    agree(
        gradients[1] / COUNT,
        (noise * std).mean(0) / 2,
        "the mean derivative of z by log_variance, half of the deviation from the mean,",
    )
    must(
        not torch.equal(*(answer(mean, log_variance, 3, rng) for _ in range(2))),
        "a second call gives the same draws: take the generator as it is, without a seed.",
    )
    must(
        repeats(lambda: answer(mean, log_variance, 3, torch.Generator().manual_seed(5))),
        "the same generator gives other draws: use it for all noise.",
    )


def divergence(answer) -> None:
    """KL of two diagonal Gaussians against torch.distributions, with the usual mistakes."""
    mean_q = torch.tensor([[0.0, 1.0, 0.3], [2.0, -1.0, 0.6]])
    log_q = torch.tensor([[0.0, 1.0, 0.4], [-1.0, 0.5, -0.3]])
    mean_p = torch.tensor([[1.0, 1.0, -0.2], [0.0, 0.5, 1.1]])
    log_p = torch.tensor([[0.5, -1.0, 0.2], [0.0, 1.0, 0.7]])
    q, p = Normal(mean_q, (log_q / 2).exp()), Normal(mean_p, (log_p / 2).exp())
    standard = Normal(torch.zeros(2, 3), torch.ones(2, 3))
    each = kl_divergence(q, p)
    halves, apart = (log_p - log_q) / 2, (mean_q - mean_p).square() / 2
    agree(
        answer(mean_q, log_q, mean_p, log_p),
        each.sum(1),
        "the divergence",
        mistakes={
            "this is minus the divergence; a divergence is never negative.": -each.sum(1),
            "this is KL(p || q); the draws come from q, so q stands first.": (
                kl_divergence(p, q).sum(1)
            ),
            "the divergences of the latent numbers are averaged; they must be summed, as the "
            "logarithm of a product is a sum.": each.mean(1),
            "the sum also runs over the images; return one number for each.": each.sum(),
            "there is one number for each latent number; sum them for each image.": each,
            "the sum runs over the images instead of the latent numbers.": each.sum(0),
            "this is the divergence from the standard normal distribution; mean_p and "
            "log_variance_p are not used.": kl_divergence(q, standard).sum(1),
            "a factor 1/2 is missing.": 2 * each.sum(1),
            "the 1 is taken away once; it belongs to every latent number.": each.sum(1) + 1.0,
            "the logarithm of the ratio of variances lacks its factor 1/2.": (each + halves).sum(1),
            "the logarithm of the ratio of variances has the wrong sign.": (
                (each - 2 * halves).sum(1)
            ),
            "the distance of the means is not divided by the variance of p.": (
                (each + apart * (1 - (-log_p).exp())).sum(1)
            ),
            "the distance of the means is divided by the variance of q, not of p.": (
                (each + apart * ((-log_q).exp() - (-log_p).exp())).sum(1)
            ),
            "log_variance is taken for the logarithm of the standard deviation.": (
                kl_divergence(Normal(mean_q, log_q.exp()), Normal(mean_p, log_p.exp())).sum(1)
            ),
        },
    )
    agree(answer(mean_q, log_q, mean_q, log_q), torch.zeros(2), "the divergence of q from itself")


def loss(answer) -> None:
    """The loss with free bits: its two terms, their reductions, and large logits."""
    rng = torch.Generator().manual_seed(1)
    images = torch.rand(3, 1, 4, 4, generator=rng).round()
    logits = torch.randn(3, 1, 4, 4, generator=rng)
    mean, log_variance = torch.randn(2, 3, 2, generator=rng).unbind()
    for each in (logits, mean, log_variance):
        each.requires_grad_()
    each = -Bernoulli(logits=logits).log_prob(images).flatten(1)
    kl = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0))
    plain = kl.sum(1).mean()
    agree(
        answer(images, logits, mean, log_variance, 0.0),
        each.sum(1).mean() + plain,
        "the loss without free bits",
        mistakes={
            "the likelihood is averaged over the pixels; it must be summed, or the divergence "
            "weighs as much as all pixels together.": each.mean() + plain,
            "the divergence has the wrong sign.": each.sum(1).mean() - plain,
            "the likelihood has the wrong sign: the loss contains its negative.": (
                plain - each.sum(1).mean()
            ),
            "both terms are summed over the images; the mean is asked for.": (
                each.sum() + kl.sum()
            ),
        },
    )
    for free in (1.2, 0.5):  # above both latent numbers' divergences, and between them
        nats = torch.tensor(free)
        agree(
            answer(images, logits, mean, log_variance, free),
            each.sum(1).mean() + torch.maximum(kl.mean(0), nats).sum(),
            f"the loss with λ = {free}",
            mistakes={
                "free bits have no effect.": each.sum(1).mean() + plain,
                "the maximum is taken for all latent numbers together; each has its own λ.": (
                    each.sum(1).mean() + torch.maximum(plain, nats)
                ),
                "the sum of the divergences is compared with d λ; compare each with λ.": (
                    each.sum(1).mean() + torch.maximum(plain, 2 * nats)
                ),
                "the maximum is taken for each image; first comes the mean over the images.": (
                    each.sum(1).mean() + torch.maximum(kl, nats).sum(1).mean()
                ),
                "λ is taken away from the divergences; by the formula the loss never falls below "
                "d λ.": each.sum(1).mean() + (kl.mean(0) - nats).clamp(min=0).sum(),
            },
        )
    found = answer(images, logits, mean, log_variance, 0.5)
    must(
        isinstance(found, torch.Tensor) and found.requires_grad,
        "no gradient flows through the loss; keep it a tensor.",
    )
    grey = 0.25 + images / 2
    wrong = Bernoulli(logits=logits).log_prob(1 - images).flatten(1)
    agree(
        answer(grey, logits, mean, log_variance, 0.0),
        (0.75 * each - 0.25 * wrong).sum(1).mean() + plain,
        "the loss of grey pixels",
        mistakes={
            "grey pixels are taken for black or white ones; both logarithms count, weighted by "
            "the grey value and by 1 less it.": each.sum(1).mean() + plain,
        },
    )
    for what, sign in (("right", 1), ("wrong", -1)):
        sure = answer(images, sign * 400 * (2 * images - 1), mean, log_variance, 0.0)
        must(
            torch.isfinite(torch.as_tensor(sure)),
            "for logits of 400 the loss is not finite: take the logarithm without computing the "
            "probability first (PyTorch has a function that works on logits).",
        )
        agree(
            sure,
            plain + (0.0 if sign == 1 else 400.0 * 16),
            f"the loss for logits of 400 that are all {what}, which costs "
            f"{'nothing' if sign == 1 else '400 nats'} for each pixel,",
        )


def bound(answer) -> None:
    """The logarithm of the mean weight: constants that can be found by hand, and tiny weights."""
    weights = torch.tensor([[1.0, 2.0], [3.0, 6.0], [2.0, 4.0]])
    wanted = torch.tensor([2.0, 4.0]).log()
    agree(
        answer(weights.log()),
        wanted,
        "the bound",
        mistakes={
            "this is the mean of the logarithms, which is the usual ELBO; average the weights "
            "first.": weights.log().mean(0),
            "the weights are summed; their mean is asked for.": weights.sum(0).log(),
            "the sum of the weights is divided by N; there are K of them.": (
                (weights.sum(0) / 2).log()
            ),
            "this is the mean weight itself; take its logarithm.": weights.mean(0),
            "this is the largest weight, not the mean of all.": weights.amax(0).log(),
            "the mean runs over the images; it should run over the K weights of each.": (
                weights.mean(1).log()
            ),
        },
    )
    tiny = answer(weights.log().double() - 1000)
    if not torch.as_tensor(tiny).isfinite().all():
        raise Wrong(
            "for weights of the size of exp(-1000) the bound is not finite: exp gives 0 there, "
            "and its logarithm is minus infinity. Bring the largest to 1 first."
        )
    agree(tiny, wanted.double() - 1000, "the bound for tiny weights")
    far = torch.tensor([0.0, -900.0], dtype=torch.float64)
    agree(
        answer(weights.log().double() + far),
        wanted.double() + far,
        "the bound where one image's weights are far below the other's, each of which has a "
        "largest weight of its own,",
    )
    alone = weights.log().double()
    alone[:2] -= 2000
    agree(
        answer(alone),
        (weights[2].double() / 3).log(),
        "the bound where the last weight dominates: bring the *largest* to 1, which",
    )


CHECKS = {"draws": draws, "divergence": divergence, "loss": loss, "bound": bound}
