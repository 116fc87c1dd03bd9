"""Checks of the exercises on DCGAN."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from .blocks import discriminator, generator
from .verdict import Wrong, agree, must


class Calculated(TorchFunctionMode):
    """Within it a convolution raises :class:`Wrong`: the task is to calculate."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        must(
            "conv" not in getattr(function, "__name__", ""),
            "a convolution is run to see what it gives; calculate.",
        )
        return function(*args, **(kwargs or {}))


def sides(answer) -> None:
    """Sides after each layer, against layers that are really run."""
    cases = (
        ("a convolution", 28, [("down", 4, 2, 1)], [14]),
        ("a convolution that does not fit evenly", 10, [("down", 5, 2, 0)], [3]),
        ("a transposed convolution", 7, [("up", 4, 2, 1)], [14]),
        ("three layers", 28, [("down", 4, 2, 1), ("down", 3, 2, 1), ("up", 4, 1, 0)], [14, 7, 10]),
    )
    for what, side, layers, wanted in cases:
        try:
            with Calculated():
                found = list(answer(side, layers))
            must(
                all(int(each) == each for each in found),
                f"for {layers} you return {found}; sides are whole numbers: round down at each "
                "layer.",
            )
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
    for inputs, kernel, stride, padding in (
        (4, 3, 2, 0),
        (4, 4, 2, 0),
        (4, 4, 2, 1),
        (3, 5, 3, 2),
        (6, 2, 2, 3),
    ):
        ones = torch.ones(1, 1, inputs), torch.ones(1, 1, kernel)
        wanted = F.conv_transpose1d(*ones, stride=stride, padding=padding)[0, 0]
        with Calculated():
            found = answer(inputs, kernel, stride, padding)
        must(
            isinstance(found, torch.Tensor) and not found.is_floating_point(),
            "return a tensor of whole numbers, such as torch.int64.",
        )
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


def begin(answer) -> None:
    """The paper's initialisation: every kind of layer, deviations, biases, trainability."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(20, 20, 4),
            nn.Sequential(
                nn.Sequential(nn.ConvTranspose2d(20, 20, 4, bias=False)), nn.BatchNorm2d(3000)
            ),
            nn.Linear(70, 90),
        )
        untouched = {name: weight.clone() for name, weight in network.state_dict().items()}
        places = [id(value) for value in network.parameters()]
        answer(network)
        once = network[0].weight.detach().clone()
        answer(network)
    must(
        [id(value) for value in network.parameters()] == places,
        "a parameter is replaced by a new one, which an optimizer made before does not know; "
        "overwrite its numbers.",
    )
    names = {
        "0.weight": "the weights of convolutions",
        "1.0.0.weight": "the weights of transposed convolutions",
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
        must(
            float((value.detach() - middle).abs().max()) > 0.05,
            f"{what} are not from a normal distribution: none is further than 0.05 from its mean.",
        )
    must(
        not torch.equal(network[0].weight, once),
        "a second call draws the same numbers again: set no seed.",
    )


CHECKS = {
    "sides": sides,
    "writings": writings,
    "generator": generator,
    "discriminator": discriminator,
    "begin": begin,
}
