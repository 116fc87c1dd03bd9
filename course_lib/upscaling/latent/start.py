"""Where the training of an autoencoder begins: with the mean colours of each 4 x 4 pixels.

Chapter: *Stable Diffusion upscaling*. An ``AutoencoderKL`` with random weights takes long to learn
that brightness and colour are to be passed on, since its last layers but one subtract the mean
of what they see and divide by its deviation. Published ones learn for weeks; ours for minutes.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

COLOURS = 3
CARRIED = 2 * COLOURS  # the colours and their negatives, whose common mean is 0
ANCHOR = 8.0  # the height of two more channels, up and down
ABOVE = 4.0  # where SiLU is almost a straight line
LOG_VARIANCE = -8.0  # of the codes: at first, little noise hides them


@torch.no_grad()
def begin_with_means(vae: "AutoencoderKL") -> "AutoencoderKL":
    """Set weights such that the first three codes are mean colours, and return the autoencoder.

    The decoder repeats them, so that what is learned is the difference from that. The other
    channels keep their random weights, for what the colours do not tell. Raises ``ValueError``
    where the group of the first channels has fewer than eight.
    """
    for part in (vae.encoder, vae.decoder):
        if part.conv_norm_out.num_channels // part.conv_norm_out.num_groups < CARRIED + 2:
            raise ValueError(f"a group must have at least {CARRIED + 2} channels")
        down, up = getattr(part, "down_blocks", []), getattr(part, "up_blocks", [])
        blocks = [*down, part.mid_block, *up]
        _set(part.conv_in, torch.cat([torch.eye(COLOURS), -torch.eye(COLOURS)]))
        for block in blocks:
            for resnet in block.resnets:
                if resnet.conv_shortcut is not None:
                    _set(resnet.conv_shortcut, torch.eye(CARRIED))
                _set(resnet.conv2, torch.zeros(CARRIED, CARRIED))
        for block in up:
            for upsampler in block.upsamplers or ():
                _set(upsampler.conv, torch.eye(CARRIED))
        for block in down:
            for downsampler in block.downsamplers or ():
                _set(downsampler.conv, torch.eye(CARRIED))
                first = downsampler.conv.weight[:CARRIED]
                # The mean of the 2 x 2 pixels, not the middle one of 3 x 3.
                first[:, :, :2, :2] = first[:, :, 1:2, 1:2] / 4
        _pass_levels(part.conv_norm_out, part.conv_out, last=blocks[-1].resnets[-1].conv2)
    codes = vae.config.latent_channels
    for conv in (vae.quant_conv, vae.post_quant_conv):
        _set(conv, torch.eye(COLOURS))
    vae.quant_conv.weight[codes:] = 0
    vae.quant_conv.bias[codes:] = LOG_VARIANCE
    return vae


def _set(conv: nn.Conv2d, matrix: torch.Tensor) -> None:
    """Let the first channels be a matrix times the first that come in, pixel by pixel."""
    outputs, inputs = matrix.shape
    conv.weight[:outputs] = 0
    conv.bias[:outputs] = 0
    middle = conv.kernel_size[0] // 2
    conv.weight[:outputs, :inputs, middle, middle] = matrix


def _pass_levels(norm: nn.GroupNorm, out: nn.Conv2d, *, last: nn.Conv2d) -> None:
    """Let normalisation, SiLU and the last convolution pass the first channels on.

    Two channels of a constant height, +ANCHOR and -ANCHOR, make up most of the group's
    deviation, which therefore depends little on the image. SiLU is met where it is almost
    straight, and the difference of what it makes of a colour and of its negative is taken.
    """
    size = norm.num_channels // norm.num_groups
    last.bias[CARRIED], last.bias[CARRIED + 1] = ANCHOR, -ANCHOR
    norm.weight[:CARRIED] = ANCHOR * (2 / size) ** 0.5
    norm.bias[:CARRIED] = ABOVE
    height = torch.tensor(ABOVE, requires_grad=True)
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(F.silu(height), height)
    _set(out, torch.cat([torch.eye(COLOURS), -torch.eye(COLOURS)], dim=1) / (2 * slope))
