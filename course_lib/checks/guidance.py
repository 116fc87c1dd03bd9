"""Checks of the exercises on guidance."""

import torch
import torch.nn.functional as F

from .randomness import demand_noise, repeats
from .verdict import agree, must


def given(answer) -> None:
    """The network's input: its halves, the order of channels, the range and the noise."""
    rng = torch.Generator().manual_seed(0)
    codes = torch.randn(2, 4, 64, 64, generator=rng)
    small = torch.rand(2, 3, 64, 64, generator=rng)
    alpha_bar = torch.tensor([1.0, 0.6, 0.36], dtype=torch.float64)
    found = answer(codes, small, torch.tensor([0, 2]), alpha_bar, rng)
    must(isinstance(found, torch.Tensor), "return a tensor.")
    must(
        found.shape == (4, 7, 64, 64),
        f"the input has shape {tuple(found.shape)}, but should have (2N, C + 3, h, w) = "
        "(4, 7, 64, 64).",
    )
    must(
        not torch.equal(found[:2, 3:], codes),
        "the small picture comes first; the codes' channels should.",
    )
    must(
        not torch.equal(found[0], found[1]) and not torch.equal(found[0::2], found[1::2]),
        "each entry is followed by its copy; first come all entries without the sentence, then "
        "all with it.",
    )
    agree(found[:2, :4], codes, "the first channels of the first half, which are the codes,")
    must(
        torch.equal(found[:2], found[2:]),
        "the halves differ; they should be alike, the noise of the small picture too: what is "
        "compared must differ in the sentence alone.",
    )
    agree(
        found[0, 4:],
        2 * small[0] - 1,
        "the small picture at a level without noise",
        mistakes={"the small picture is still in [0, 1]; bring it to [-1, 1].": small[0]},
    )
    picture = 2 * small[1] - 1
    agree(
        (found[1, 4:] * picture).sum() / (picture * picture).sum(),
        0.6,
        "the factor of the small picture at alpha_bar = 0.36",
        tolerance=0.05,
        mistakes={
            "the small picture is multiplied by alpha_bar; take the root.": 0.36,
            "the small picture keeps its size, or has the first picture's level; multiply it by "
            "the root of its own alpha_bar.": 1.0,
            "the factors are exchanged: alpha_bar is the share of the picture.": 0.8,
        },
    )
    noise = found[1, 4:] - 0.6 * picture
    agree(
        noise.std(),
        0.8,
        "the deviation of the noise at alpha_bar = 0.36",
        tolerance=0.02,
        mistakes={
            "no noise is added.": 0.0,
            "the noise is multiplied by 1 - alpha_bar, its variance; take the root.": 0.64,
        },
    )
    must(
        abs(float((noise[0] * noise[1]).mean())) < 0.15,
        "the colours share their noise; every number has its own.",
    )
    seed = torch.Generator().manual_seed
    both = answer(codes, small, torch.tensor([2, 2]), alpha_bar, seed(1))
    noises = both[:2, 4:] - 0.6 * (2 * small - 1)
    must(
        abs(float((noises[0] * noises[1]).mean())) < 0.15,
        "the pictures of the batch share their noise; each has its own.",
    )
    level = torch.tensor([2, 2])
    grey = torch.full_like(small, 0.5)  # 0 in [-1, 1], so that noise is all there is
    demand_noise(lambda source: answer(codes, grey, level, alpha_bar, source)[:2, 4:])


def dropped(answer) -> None:
    """Which sentences are left out, how many, and whether the batch stays as it was."""
    rng = torch.Generator().manual_seed(0)
    tokens = torch.randint(10, 50, (4000, 6), generator=rng)
    empty = torch.tensor([1, 2, 0, 0, 0, 0])
    found = answer(tokens, empty, 0.3, rng)
    must(isinstance(found, torch.Tensor), "return a tensor.")
    must(found.shape == tokens.shape, f"the result has shape {tuple(found.shape)}.")
    must(
        found.dtype == tokens.dtype,
        f"the tokens are {found.dtype}; they should stay whole numbers.",
    )
    gone, kept = (found == empty).all(1), (found == tokens).all(1)
    must(
        not gone.all() and not kept.all(),
        "either every sentence of the batch is left out or none; each example has its own toss.",
    )
    must(
        (gone | kept).all(),
        "some sentences are left out in part; a sentence is kept or left out as a whole.",
    )
    agree(
        gone.double().mean(),
        0.3,
        "the share of empty sentences for p = 0.3",
        tolerance=0.03,
        mistakes={"p and 1 - p are exchanged.": 0.7},
    )
    must(
        repeats(lambda: answer(tokens, empty, 0.3, torch.Generator().manual_seed(1))),
        "the same generator leaves out other sentences: toss with the generator.",
    )
    must(
        not torch.equal(answer(tokens, empty, 0.3, rng), answer(tokens, empty, 0.3, rng)),
        "a second call leaves out the same sentences: take the generator as it is, unseeded.",
    )
    centred = gone.double() - 0.3
    must(
        abs(float((centred[1:] * centred[:-1]).mean())) < 0.05,
        "neighbours are left out together; each example has its own toss.",
    )
    one = [answer(tokens[:1], empty, 0.3, rng) for _ in range(500)]
    alone = [float((each == empty).all()) for each in one]
    agree(
        sum(alone) / len(alone),
        0.3,
        "the share of empty sentences in 500 batches of one sentence",
        tolerance=0.08,
        mistakes={
            "a fixed number of each batch is left out, and none of a batch of one; toss for each "
            "example by itself.": 0.0
        },
    )
    must(
        answer(tokens, empty, 0.0, rng).data_ptr() != tokens.data_ptr(),
        "where nothing is left out, the given tensor itself comes back; return a new one.",
    )


def attend(answer) -> None:
    """Attention with a mask, against PyTorch's own."""
    rng = torch.Generator().manual_seed(1)
    questions = torch.randn(2, 4, 3, generator=rng, dtype=torch.float64)
    keys = torch.randn(2, 5, 3, generator=rng, dtype=torch.float64)
    values = torch.randn(2, 5, 6, generator=rng, dtype=torch.float64)
    every, some = torch.ones(2, 5).bool(), torch.tensor([[1, 1, 1, 0, 0], [1, 0, 1, 1, 0]]).bool()

    def torchs(real: torch.Tensor, **options) -> torch.Tensor:
        mask = real[:, None, :]
        return F.scaled_dot_product_attention(questions, keys, values, attn_mask=mask, **options)

    products = torch.einsum("npd,nld->npl", questions, keys) / 3**0.5
    found = answer(questions, keys, values, every)
    must(
        not isinstance(found, torch.Tensor) or not found.isnan().any(),
        "where all pieces are real the result is nan: the mask is used the wrong way round (True "
        "marks a real piece), or 0 is multiplied by -inf.",
    )
    agree(
        found,
        torchs(every),
        "the result without a mask",
        mistakes={
            "the products are not divided by the root of the width d.": torchs(every, scale=1.0),
            "the products are divided by d itself; take its root.": torchs(every, scale=1 / 3),
            "the softmax runs over the places; it should run over the pieces of the sentence.": (
                torch.einsum("npl,nle->npe", products.softmax(1), values)
            ),
            "no softmax is taken.": torch.einsum("npl,nle->npe", products, values),
        },
    )
    after = torch.einsum("npl,nle->npe", products.softmax(2) * some[:, None, :], values)
    agree(
        answer(questions, keys, values, some),
        torchs(some),
        "the result with a mask",
        mistakes={
            "the mask has no effect.": torchs(every),
            "the mask is used the wrong way round: True marks a real piece.": torchs(~some),
            "the mask comes after the softmax, so that the weights no longer sum to 1.": after,
            "masked scores are set to 0, which is no small score: exp(0) is 1.": torch.einsum(
                "npl,nle->npe", (products * some[:, None, :]).softmax(2), values
            ),
        },
    )
    first = torch.zeros(2, 5).bool()
    first[:, 0] = True
    large = answer(questions, 1e5 * keys, values, first)
    must(
        not isinstance(large, torch.Tensor) or large.isfinite().all(),
        "with large products and one real piece the result is not finite: exp overflows, or a sum "
        "of weights is 0. Mask the scores *before* the softmax, and leave exp to it.",
    )
    agree(
        large,
        values[:, :1].expand(2, 4, 6),
        "the result with large products, where only the first piece is real and takes all,",
    )


def guided(answer) -> None:
    """Guidance for each picture: the halves, their order, and every kind of strength."""
    rng = torch.Generator().manual_seed(2)
    without, told = torch.randn(2, 3, 2, 4, 4, generator=rng).unbind()
    both = torch.cat([without, told])

    def combined(g: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.lerp(a, b, g.view(-1, 1, 1, 1).expand_as(a))

    g = torch.tensor([0.0, 2.5, -1.0])
    agree(
        answer(both, g),
        combined(g, without, told),
        "the guided answer",
        mistakes={
            "the halves are exchanged: the answers without the sentence come first.": (
                combined(g, told, without)
            ),
            "the difference is added to the answer *with* the sentence, so that 0 gives that "
            "one; by the chapter's formula 1 does.": combined(g + 1, without, told),
            "every second entry is taken for the other half; the halves follow each other as a "
            "whole.": combined(g, both[0::2], both[1::2]),
            "all pictures are guided by the first one's strength.": (
                combined(g[:1].expand(3), without, told)
            ),
            "the difference is taken the wrong way round.": combined(-g, without, told),
            "only the difference is returned.": combined(g, without, told) - without,
            "for strengths of at most 1 the answer is that with the sentence, as the pipeline's "
            "shortcut has it; the formula holds for every strength.": combined(
                torch.where(g <= 1, 1.0, g), without, told
            ),
            "strengths below 0 are cut off; they are allowed, and lead away from the sentence.": (
                combined(g.clamp(min=0), without, told)
            ),
        },
    )
    one = torch.ones(3)
    agree(answer(both, one), told, "the answer with strength 1, which is that with the sentence,")


CHECKS = {"given": given, "dropped": dropped, "attend": attend, "guided": guided}
