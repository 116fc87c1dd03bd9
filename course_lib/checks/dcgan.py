"""Checks of the exercises on DCGAN."""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from .verdict import Wrong, agree, close, must


def sides(answer) -> None:
    """Sides after each layer, against layers that are really run."""
    cases = (
        ("a convolution", 28, [("down", 4, 2, 1)], [14]),
        ("a convolution that does not fit evenly", 8, [("down", 3, 2, 0)], [3]),
        ("a transposed convolution", 7, [("up", 4, 2, 1)], [14]),
        ("three layers", 28, [("down", 4, 2, 1), ("down", 3, 2, 1), ("up", 4, 1, 0)], [14, 7, 10]),
    )
    for what, side, layers, wanted in cases:
        found = answer(side, layers)
        try:
            found = [int(each) for each in found]
        except (TypeError, ValueError):
            raise Wrong("return a list of whole numbers, one for each layer.") from None
        must(
            len(found) == len(wanted),
            f"for {layers} there are {len(found)} sides; return one after each layer, without "
            "the side that comes in.",
        )
        if what == "a convolution that does not fit evenly" and found == [4]:
            raise Wrong("a kernel that does not fit any more is left out: round down, not up.")
        must(found == wanted, f"{what}, {layers}, makes {wanted} of a side of {side}, not {found}.")


def writings(answer) -> None:
    """How often each pixel is written, against a transposed convolution of ones."""
    for inputs, kernel, stride, padding in ((4, 3, 2, 0), (4, 4, 2, 0), (4, 4, 2, 1), (3, 5, 3, 2)):
        ones = torch.ones(1, 1, inputs), torch.ones(1, 1, kernel)
        wanted = F.conv_transpose1d(*ones, stride=stride, padding=padding)[0, 0]
        found = answer(inputs, kernel, stride, padding)
        must(isinstance(found, torch.Tensor), "return a tensor of whole numbers.")
        what = f"with {inputs} pixels, kernel {kernel}, stride {stride} and padding {padding}"
        must(found.ndim == 1, f"the counts have {found.ndim} axes; return one line, (pixels,).")
        must(
            len(found) != len(wanted) + 4 * padding or not padding,
            f"{what} the result has {len(wanted)} pixels, not {len(found)}: padding *cuts off* "
            "at both ends here, and adds nothing.",
        )
        must(
            len(found) == len(wanted),
            f"{what} the result has {len(wanted)} pixels, not {len(found)}: from the first place "
            "that is written to the last, less the padding at each end.",
        )
        must(
            len(found.unique()) > 1 or len(wanted.unique()) == 1,
            f"{what} not all pixels are written equally often: at the ends, and where the stride "
            "does not divide the kernel, it differs.",
        )
        agree(found, wanted, f"{what} the count")


def generator(answer) -> None:
    """A generator by the guidelines: its layers as they run, and what stands between them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for doublings, channels in ((2, 3), (3, 1)):
            examine_generator(answer(5, 4, doublings, channels), doublings, channels)


@dataclass(frozen=True)
class Call:
    """A layer that was run, and copies of what it was given and what it made of it."""

    layer: nn.Module
    given: torch.Tensor
    made: torch.Tensor

    @property
    def is_norm(self) -> bool:
        return isinstance(self.layer, nn.BatchNorm2d)


def calls(network: nn.Module, latents: torch.Tensor) -> tuple[list[Call], torch.Tensor]:
    """Run a network; return its transposed convolutions and batch norms in order, and its result.

    Activations are not among them: they may be functions, which no hook sees.
    """
    found = []

    def note(layer: nn.Module, given: tuple, made: torch.Tensor) -> None:
        found.append(Call(layer, given[0].detach().clone(), made.detach().clone()))

    hooks = [
        part.register_forward_hook(note)
        for part in network.modules()
        if isinstance(part, nn.ConvTranspose2d | nn.BatchNorm2d)
    ]
    try:
        return found, network(latents)
    finally:
        for hook in hooks:
            hook.remove()


def examine_generator(built, doublings: int, channels: int) -> None:
    """Look at one generator with 5 latents and width 4; raise :class:`Wrong` at what is wrong."""
    must(isinstance(built, nn.Module), "return a torch.nn.Module.")
    latents, side = torch.randn(6, 5), 4 * 2**doublings
    ran, pictures = calls(built, latents)
    must(
        isinstance(pictures, torch.Tensor) and pictures.shape == (6, channels, side, side),
        f"with {doublings} doublings and {channels} channels the pictures have shape "
        f"{tuple(getattr(pictures, 'shape', ()))}, but should have {(6, channels, side, side)}.",
    )
    weights = (nn.ConvTranspose2d, nn.BatchNorm2d)
    others = (nn.Upsample, nn.MaxPool2d, nn.AvgPool2d)
    used = {
        type(part).__name__
        for part in built.modules()
        if isinstance(part, others)
        or (any(True for _ in part.parameters(recurse=False)) and not isinstance(part, weights))
    }
    must(
        not used,
        "only transposed convolutions, batch norms and activations do any work here, but there "
        f"is {', '.join(sorted(used))}.",
    )
    layers = [call.layer for call in ran if not call.is_norm]
    must(
        len(layers) == doublings + 1,
        f"{len(layers)} transposed convolutions (nn.ConvTranspose2d) are run; {doublings} "
        f"doublings need {doublings + 1}.",
    )
    must(
        all(layer.kernel_size[0] % layer.stride[0] == 0 for layer in layers),
        "a kernel is not a multiple of its stride: checkerboards threaten.",
    )
    wide = [4 * 2 ** (doublings - 1 - k) for k in range(doublings)] + [channels]
    found = [layer.out_channels for layer in layers]
    must(found == wide, f"the channels are {found}; they should be {wide}.")
    must(
        not ran[-1].is_norm,
        "there is a batch norm too many: none stands at the output, where brightness and "
        "contrast are decided.",
    )
    must(
        [call.is_norm for call in ran] == [False, True] * doublings + [False],
        "batch norms (nn.BatchNorm2d) and transposed convolutions do not take turns: one norm "
        f"stands behind each convolution but the last, and there are "
        f"{sum(call.is_norm for call in ran)} norms for {len(layers)} convolutions.",
    )
    must(close(ran[0].given.flatten(1), latents), "the latents are changed before the first layer.")
    for before, after in pairwise(ran):
        examine_between(before, after)
    examine_end(ran[-1].made, pictures.detach())


def examine_between(before: Call, after: Call) -> None:
    """Demand a rectifier behind a batch norm, and nothing behind a transposed convolution."""
    if after.is_norm:
        must(
            not close(after.given, before.made.relu()),
            "a rectifier stands before a batch norm; it belongs behind it.",
        )
        must(
            close(after.given, before.made),
            "something stands between a transposed convolution and its batch norm.",
        )
        return
    must(not close(after.given, before.made), "behind a batch norm there is no rectifier.")
    must(
        close(after.given, before.made.relu()),
        "behind a batch norm stands something else than a rectifier (ReLU).",
    )


def examine_end(logits: torch.Tensor, pictures: torch.Tensor) -> None:
    """Demand that pictures are the tanh of what the last transposed convolution made."""
    must(
        not close(pictures, logits.sigmoid()),
        "a sigmoid gives numbers in [0, 1]; the guidelines end in a tanh.",
    )
    must(not close(pictures, logits), "there is no tanh at the end.")
    must(
        not close(pictures, logits.relu().tanh()),
        "there is a rectifier too many: before the tanh it takes all dark values away.",
    )
    must(
        close(pictures, logits.tanh()),
        "the pictures are not the tanh of what the last transposed convolution makes.",
    )


def begin(answer) -> None:
    """The paper's initialisation: every kind of layer, deviations, biases, trainability."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(20, 20, 4),
            nn.Sequential(nn.ConvTranspose2d(20, 20, 4, bias=False), nn.BatchNorm2d(3000)),
            nn.Linear(70, 90),
        )
        untouched = {name: weight.clone() for name, weight in network.state_dict().items()}
        answer(network)
    names = {
        "0.weight": "the weights of convolutions",
        "1.0.weight": "the weights of transposed convolutions",
        "1.1.weight": "the scales of batch norms",
        "2.weight": "the weights of linear layers",
    }
    for name, value in network.named_parameters():
        must(value.requires_grad, "a parameter can no longer be trained.")
        if name.endswith("bias"):
            must((value == 0).all(), "a bias or a shift is not 0.")
            continue
        what, middle = names[name], 1.0 if "scales" in names[name] else 0.0
        must(
            not torch.equal(value, untouched[name]),
            f"{what} are still those that PyTorch began with: nothing was drawn.",
        )
        mean, deviation = float(value.detach().mean()), float(value.detach().std())
        must(
            abs(mean - middle) < 0.01,
            f"{what} have the mean {mean:.3f}; it should be {middle:.0f}."
            + (" Around 0 a batch norm lets next to nothing through." if middle else ""),
        )
        must(
            abs(deviation - 0.02**0.5) > 0.01,
            f"{what} have the *variance* 0.02; that should be their standard deviation.",
        )
        must(
            abs(deviation / 0.02 - 1) < 0.1,
            f"{what} have the standard deviation {deviation:.4f}; it should be 0.02.",
        )


CHECKS = {"sides": sides, "writings": writings, "generator": generator, "begin": begin}
