"""Checks of the exercises on variational autoencoders."""

import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from .verdict import Wrong, agree, must, repeats


def draws(answer) -> None:
    """Draws z from the encoder's Gaussian: shape, moments, independence, gradients."""
    rng = torch.Generator().manual_seed(0)
    mean = torch.tensor([[1.0, -2.0], [0.5, 3.0]], requires_grad=True)
    log_variance = torch.tensor([[0.0, 2.0], [-2.0, 1.0]], requires_grad=True)
    std = (log_variance / 2).exp().detach()
    many = answer(mean, log_variance, 20_000, rng)
    must(isinstance(many, torch.Tensor), "draws must return a tensor.")
    must(
        many.shape == (20_000, 2, 2),
        f"the draws have shape {tuple(many.shape)}, but should have (K, N, d) = (20000, 2, 2).",
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
        tolerance=0.03,
        mistakes={
            "the spread is the variance: the noise must be multiplied by the standard "
            "deviation, exp(log_variance / 2).": std,
            "the spread is exp(log_variance / 4), which is no standard deviation.": std**-0.5,
        },
    )
    agree(many.detach().mean(0), mean.detach(), "the draws' mean", tolerance=0.06)
    noise = (many.detach() - mean.detach()) / std
    must(
        float((noise[:, 0, 0] * noise[:, 1, 1]).mean().abs()) < 0.1,
        "two latent numbers share their noise: each needs its own.",
    )
    must(
        many.requires_grad,
        "no gradient flows into mean and log_variance: a sampler or a detach cuts it off.",
    )
    gradients = torch.autograd.grad(many.sum(), (mean, log_variance), allow_unused=True)
    must(gradients[0] is not None, "no gradient flows into the mean.")
    must(gradients[1] is not None, "no gradient flows into log_variance.")
    agree(gradients[0] / 20_000, torch.ones(2, 2), "the derivative of z by the mean")
    must(
        repeats(lambda: answer(mean, log_variance, 3, torch.Generator().manual_seed(5))),
        "the same generator gives other draws: use it for all noise.",
    )


def divergence(answer) -> None:
    """KL of two diagonal Gaussians against torch.distributions, with the usual mistakes."""
    mean_q, log_q = torch.tensor([[0.0, 1.0], [2.0, -1.0]]), torch.tensor([[0.0, 1.0], [-1.0, 0.5]])
    mean_p, log_p = torch.tensor([[1.0, 1.0], [0.0, 0.5]]), torch.tensor([[0.5, -1.0], [0.0, 1.0]])
    q, p = Normal(mean_q, (log_q / 2).exp()), Normal(mean_p, (log_p / 2).exp())
    standard = Normal(torch.zeros(2, 2), torch.ones(2, 2))
    each = kl_divergence(q, p)
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
        },
    )
    agree(answer(mean_q, log_q, mean_q, log_q), torch.zeros(2), "the divergence of q from itself")


def loss(answer) -> None:
    """The loss with free bits: its two terms, their reductions, and large logits."""
    rng = torch.Generator().manual_seed(1)
    images = torch.rand(3, 1, 4, 4, generator=rng).round()
    logits = torch.randn(3, 1, 4, 4, generator=rng)
    mean, log_variance = torch.randn(2, 3, 2, generator=rng).unbind()
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
    free = float(kl.mean(0).mean())
    nats = torch.tensor(free)
    agree(
        answer(images, logits, mean, log_variance, free),
        each.sum(1).mean() + torch.maximum(kl.mean(0), nats).sum(),
        "the loss with free bits",
        mistakes={
            "free bits have no effect.": each.sum(1).mean() + plain,
            "the maximum is taken for all latent numbers together; each has its own λ.": (
                each.sum(1).mean() + torch.maximum(plain, nats)
            ),
            "the maximum is taken for each image; first comes the mean over the images.": (
                each.sum(1).mean() + torch.maximum(kl, nats).sum(1).mean()
            ),
        },
    )
    sure = answer(images, 400 * (2 * images - 1), mean, log_variance, 0.0)
    must(
        torch.isfinite(torch.as_tensor(sure)),
        "for logits of 400 the loss is not finite: take the logarithm without computing the "
        "probability first (PyTorch has a function that works on logits).",
    )


def bound(answer) -> None:
    """The logarithm of the mean weight: constants that can be found by hand, and tiny weights."""
    weights = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    wanted = torch.tensor([2.0, 4.0]).log()
    agree(
        answer(weights.log()),
        wanted,
        "the bound",
        mistakes={
            "this is the mean of the logarithms, which is the usual ELBO; average the weights "
            "first.": weights.log().mean(0),
            "the weights are summed; their mean is asked for.": weights.sum(0).log(),
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
    agree(tiny, wanted.double() - 1000, "the bound for tiny weights", tolerance=1e-6)


CHECKS = {"draws": draws, "divergence": divergence, "loss": loss, "bound": bound}
