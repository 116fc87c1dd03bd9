"""Checks of the exercises on DCGAN."""

import torch
import torch.nn.functional as F
from torch import nn

from .verdict import Wrong, agree, must


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
            f"for {len(wanted)} layers there are {len(found)} sides; return one after each layer.",
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
        must(
            found.shape == wanted.shape,
            f"{what} the result has {len(wanted)} pixels, not {tuple(found.shape)}: padding "
            "*cuts off* at both ends here.",
        )
        must(
            len(found.unique()) > 1 or len(wanted.unique()) == 1,
            f"{what} not all pixels are written equally often: at the ends, and where the stride "
            "does not divide the kernel, it differs.",
        )
        agree(found, wanted, f"{what} the count")


def generator(answer) -> None:
    """A generator by the guidelines: shapes, range, parts and their places."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for doublings, channels in ((2, 3), (3, 1)):
            examine_generator(answer(5, 4, doublings, channels), doublings, channels)


def examine_generator(built, doublings: int, channels: int) -> None:
    """Look at one generator with 5 latents and width 4; raise :class:`Wrong` at what is wrong."""
    must(isinstance(built, nn.Module), "return a torch.nn.Module.")
    side = 4 * 2**doublings
    pictures = built(torch.randn(6, 5))
    must(
        pictures.shape == (6, channels, side, side),
        f"with {doublings} doublings and {channels} channels the pictures have shape "
        f"{tuple(pictures.shape)}, but should have {(6, channels, side, side)}.",
    )
    parts = list(built.modules())
    must(
        not any(isinstance(part, nn.Sigmoid) for part in parts),
        "a sigmoid gives numbers in [0, 1]; the guidelines end in a tanh.",
    )
    must(any(isinstance(part, nn.Tanh) for part in parts), "there is no tanh at the end.")
    others = (nn.Linear, nn.Conv2d, nn.Upsample, nn.MaxPool2d, nn.AvgPool2d)
    used = sorted({type(part).__name__ for part in parts if isinstance(part, others)})
    must(not used, f"only transposed convolutions make pixels here, but there is {used}.")
    layers = [part for part in parts if isinstance(part, nn.ConvTranspose2d)]
    must(
        len(layers) == doublings + 1,
        f"there are {len(layers)} transposed convolutions; {doublings} doublings need "
        f"{doublings + 1}.",
    )
    must(
        all(part.kernel_size[0] % part.stride[0] == 0 for part in layers),
        "a kernel is not a multiple of its stride: checkerboards threaten.",
    )
    wide = [4 * 2 ** (doublings - 1 - k) for k in range(doublings)]
    found = [part.out_channels for part in layers]
    must(
        found == [*wide, channels], f"the channels are {found}; they should be {[*wide, channels]}."
    )
    norms = [part.num_features for part in parts if isinstance(part, nn.BatchNorm2d)]
    must(
        len(norms) <= doublings,
        "there is a batch norm too many: none stands at the output, where brightness and "
        "contrast are decided.",
    )
    must(norms == wide, f"the batch norms have {norms} channels; they should have {wide}.")
    must(
        sum(isinstance(part, nn.ReLU) for part in parts) <= doublings,
        "there is a rectifier too many: before the tanh it would take all dark values away.",
    )
    must(
        any(isinstance(part, nn.ReLU | nn.LeakyReLU) for part in parts),
        "there are no rectifiers between the layers.",
    )
    must((pictures.min() < 0) and (pictures.max() > 0), "the pictures have one sign only.")


def begin(answer) -> None:
    """The paper's initialisation: every kind of layer, deviations, biases, trainability."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(20, 20, 4),
            nn.Sequential(nn.ConvTranspose2d(20, 20, 4, bias=False), nn.BatchNorm2d(3000)),
            nn.Linear(70, 90),
        )
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
