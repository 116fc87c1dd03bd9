"""Checks of DCGAN's two networks: by what they do, not by how they are written."""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from .verdict import close, must


def generator(answer) -> None:
    """A generator by the guidelines: its layers as they run, and what stands between them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for doublings, channels in ((1, 2), (2, 3), (3, 1)):
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


def calls(
    network: nn.Module, given: torch.Tensor, kind: type[nn.Module]
) -> tuple[list[Call], torch.Tensor]:
    """Run a network; return its layers of a kind and its batch norms in order, and its result.

    Activations are not among them: they may be functions, which no hook sees.
    """
    found = []
    with torch.no_grad():
        network(given)  # lazy modules become what they are

    def note(layer: nn.Module, given: tuple, made: torch.Tensor) -> None:
        found.append(Call(layer, given[0].detach().clone(), made.detach().clone()))

    hooks = [
        part.register_forward_hook(note)
        for part in network.modules()
        if isinstance(part, kind | nn.BatchNorm2d)
    ]
    try:
        return found, network(given)
    finally:
        for hook in hooks:
            hook.remove()


def examine_generator(built, doublings: int, channels: int) -> None:
    """Look at one generator with 5 latents and width 4; raise :class:`Wrong` at what is wrong."""
    must(isinstance(built, nn.Module), "return a torch.nn.Module.")
    latents, side = torch.randn(6, 5), 4 * 2**doublings
    ran, pictures = calls(built, latents, nn.ConvTranspose2d)
    must(
        isinstance(pictures, torch.Tensor) and pictures.shape == (6, channels, side, side),
        f"with {doublings} doublings and {channels} channels the pictures have shape "
        f"{tuple(getattr(pictures, 'shape', ()))}, but should have {(6, channels, side, side)}.",
    )
    demand_parts(built, nn.ConvTranspose2d, "transposed convolutions")
    layers = [call.layer for call in ran if not call.is_norm]
    must(
        len(layers) == doublings + 1,
        f"{len(layers)} transposed convolutions (nn.ConvTranspose2d) are run; {doublings} "
        f"doublings need {doublings + 1}.{unregistered(built)}",
    )
    made = [call.made.shape[-1] for call in ran if not call.is_norm]
    doubled = [4 * 2**k for k in range(doublings + 1)]
    must(made == doubled, f"the layers make sides of {made}; they should be {doubled}.")
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
    alone = built(latents[:1])
    must(
        alone.shape == (1, channels, side, side),
        f"for a single latent the result has shape {tuple(alone.shape)}; the batch's axis stays.",
    )


def demand_parts(built: nn.Module, kind: type[nn.Module], named: str) -> None:
    """Demand that layers of one kind and batch norms alone do the work."""
    others = (nn.Upsample, nn.MaxPool2d, nn.AvgPool2d)
    used = {
        type(part).__name__
        for part in built.modules()
        if isinstance(part, others)
        or (list(part.parameters(recurse=False)) and not isinstance(part, kind | nn.BatchNorm2d))
    }
    must(
        not used,
        f"only {named}, batch norms and activations do any work here, but there is "
        f"{', '.join(sorted(used))}.",
    )


def unregistered(built: nn.Module) -> str:
    """Return a hint where a module has no weights that PyTorch knows of."""
    if list(built.parameters()):
        return ""
    return " Layers in a plain list do not belong to the module; take nn.ModuleList."


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


def discriminator(answer) -> None:
    """A discriminator by the guidelines: its layers as they run, and what stands between them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for halvings, channels in ((1, 2), (2, 3), (3, 1)):
            examine_discriminator(answer(channels, 4, halvings), channels, halvings)


def examine_discriminator(built, channels: int, halvings: int) -> None:
    """Look at one discriminator of width 4; raise :class:`Wrong` at what is wrong."""
    must(isinstance(built, nn.Module), "return a torch.nn.Module.")
    side = 4 * 2**halvings
    ran, logits = calls(built, torch.randn(6, channels, side, side), nn.Conv2d)
    must(
        isinstance(logits, torch.Tensor) and logits.shape == (6,),
        f"for 6 pictures of side {side} the result has shape "
        f"{tuple(getattr(logits, 'shape', ()))}, but should have (6,).",
    )
    demand_parts(built, nn.Conv2d, "convolutions")
    layers = [call for call in ran if not call.is_norm]
    must(
        len(layers) == halvings + 1,
        f"{len(layers)} convolutions (nn.Conv2d) are run; {halvings} halvings need {halvings + 1}."
        f"{unregistered(built)}",
    )
    wide = [4 * 2**k for k in range(halvings)] + [1]
    found = [call.layer.out_channels for call in layers]
    must(found == wide, f"the channels are {found}; they should be {wide}.")
    sides = [call.made.shape[-1] for call in layers]
    halved = [side // 2 ** (k + 1) for k in range(halvings)] + [1]
    must(sides == halved, f"the convolutions make sides of {sides}; they should be {halved}.")
    must(
        not ran[-1].is_norm,
        "there is a batch norm at the output: the logits of a batch would have the mean 0, "
        "however real its pictures are.",
    )
    must(
        not ran[0].is_norm,
        "there is a batch norm before the first convolution: brightness and contrast of the "
        "pictures would be lost.",
    )
    must(
        layers[-1].layer.kernel_size == (4, 4),
        f"the last convolution has the kernel {layers[-1].layer.kernel_size}; it should see all "
        "of the last 4 by 4 pixels.",
    )
    must(
        not (len(ran) > 1 and ran[1].is_norm),
        "there is a batch norm behind the first convolution: brightness and contrast of the "
        "pictures would be lost.",
    )
    wanted = [False] + [False, True] * (halvings - 1) + [False]
    must(
        [call.is_norm for call in ran] == wanted,
        "one batch norm (nn.BatchNorm2d) stands behind each convolution but the first and the "
        f"last; there are {sum(call.is_norm for call in ran)} norms for {len(layers)} "
        "convolutions.",
    )
    for before, after in pairwise(ran):
        examine_leak(before, after)
    must(
        not close(logits, ran[-1].made.flatten().sigmoid()),
        "a sigmoid is taken; return logits, since the loss takes the sigmoid itself.",
    )
    must(
        close(logits, ran[-1].made.flatten()),
        "behind the last convolution stands something else than a change of shape.",
    )
    alone = built(torch.randn(1, channels, side, side))
    must(
        alone.shape == (1,),
        f"for a single picture the result has shape {tuple(alone.shape)}, but should have (1,).",
    )


def examine_leak(before: Call, after: Call) -> None:
    """Demand a leaky rectifier before each convolution but the first, and nothing elsewhere."""
    if after.is_norm:
        must(
            close(after.given, before.made),
            "something stands between a convolution and its batch norm; the rectifier belongs "
            "behind the norm.",
        )
        return
    must(
        not close(after.given, before.made),
        "two convolutions follow each other, or a batch norm and a convolution, without a "
        "rectifier between them.",
    )
    must(
        not close(after.given, before.made.relu()),
        "the rectifiers let nothing through below 0: where a whole picture is there, the "
        "generator gets no slope. Take leaky ones.",
    )
    must(
        close(after.given, F.leaky_relu(before.made, 0.2)),
        "the rectifiers are not leaky ones with the slope 0.2.",
    )
