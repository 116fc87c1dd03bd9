"""The parts of a latent upscaler, made small: diffusers' and transformers' own classes.

Chapter: *Stable Diffusion upscaling*. They are the classes of which Stability's x4 upscaler is
made (Rombach et al., 2022, arXiv:2112.10752), so that small parts and published ones run in the
same pipeline. Both libraries are imported when a part is built, since that takes seconds.
"""

import json
import re
import tempfile
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

LEVELS = 351  # of noise on the small image: 0 to the published upscaler's largest, 350
BETAS = {"beta_start": 1e-4, "beta_end": 2e-2, "beta_schedule": "scaled_linear"}
SCALING_FACTOR = 0.08333  # the published autoencoder's; the pipeline accepts no other
START, END = "<|startoftext|>", "<|endoftext|>"


def autoencoder(
    channels: tuple[int, ...],
    *,
    latent_channels: int = 4,
    groups: int = 8,
    attention: bool = False,
) -> "AutoencoderKL":
    """Return an untrained autoencoder that halves the sides ``len(channels) - 1`` times.

    ``attention`` adds self-attention at the codes' resolution, whose memory grows with the
    square of the number of codes.
    """
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=groups,
        scaling_factor=SCALING_FACTOR,
        mid_block_add_attention=attention,
    )


def unet(
    channels: tuple[int, ...],
    *,
    text_width: int,
    latent_channels: int = 4,
    groups: int = 8,
    head_width: int = 16,
) -> "UNet2DConditionModel":
    """Return an untrained U-Net of latents, small image, noise level and text.

    It sees ``latent_channels`` and the three colours of the small image at every place. The
    coarsest resolution attends to the text, and its middle to itself too; the published upscaler
    attends to the text at all resolutions but the finest.
    """
    from diffusers import UNet2DConditionModel
    from diffusers.models.embeddings import get_timestep_embedding

    finer = len(channels) - 1
    model = UNet2DConditionModel(
        in_channels=latent_channels + 3,
        out_channels=latent_channels,
        block_out_channels=channels,
        down_block_types=("DownBlock2D",) * finer + ("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",) + ("UpBlock2D",) * finer,
        only_cross_attention=(True,) * len(channels),
        layers_per_block=1,
        attention_head_dim=tuple(width // head_width for width in channels),
        cross_attention_dim=text_width,
        use_linear_projection=True,
        norm_num_groups=groups,
        num_class_embeds=LEVELS,
    )
    # Neighbouring noise levels begin alike: few steps of training visit each of them.
    embedding = model.class_embedding.weight
    with torch.no_grad():
        embedding.copy_(0.3 * get_timestep_embedding(torch.arange(LEVELS), embedding.shape[1]))
    return model


def text_encoder(
    vocabulary: int, *, width: int = 64, layers: int = 2, length: int = 16
) -> "CLIPTextModel":
    """Return an untrained text encoder: ``length`` tokens to as many vectors of ``width``.

    The last two of the ``vocabulary`` are the tokens of the start and of the end.
    """
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=width // 16,
            max_position_embeddings=length,
            bos_token_id=vocabulary - 2,
            eos_token_id=vocabulary - 1,
            pad_token_id=vocabulary - 1,
        )
    )


def tokenizer(words: tuple[str, ...], *, length: int = 16) -> "CLIPTokenizer":
    """Return a tokenizer in which each of the ``words`` is one token.

    It is CLIP's, by byte pairs; words that are not in the list fall into pieces, at worst into
    their letters, so that every text can be read. The words are lower case letters only.
    """
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    if wrong := [word for word in words if not re.fullmatch("[a-z]+", word)]:
        raise ValueError(f"words must be of the letters a to z, but {wrong} are not")
    letters = sorted(ByteLevel.alphabet())
    merges = byte_pairs(words)
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges)]
    vocabulary = {token: number for number, token in enumerate([*tokens, START, END])}
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "vocab.json"), Path(folder, "merges.txt")
        files[0].write_text(json.dumps(vocabulary))
        files[1].write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
        return CLIPTokenizer.from_pretrained(folder, model_max_length=length, pad_token=END)


def byte_pairs(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return the merges that make each word one token, the most frequent pair first.

    This is byte pair encoding (Sennrich, Haddow and Birch, 2016, arXiv:1508.07909), gone on with
    until nothing is left to merge. The last letter of a word carries its end, '</w>'.
    """
    pieces = [[*word[:-1], f"{word[-1]}</w>"] for word in words]
    merges = []
    while counts := Counter(pair for piece in pieces for pair in pairwise(piece)):
        best = max(counts, key=lambda pair: (counts[pair], pair))
        merges.append(best)
        for piece in pieces:
            for i in range(len(piece) - 2, -1, -1):
                if tuple(piece[i : i + 2]) == best:
                    piece[i : i + 2] = ["".join(best)]
    return merges


def scheduler() -> "DDIMScheduler":
    """Return the sampler of the latents: the published upscaler's noise, ending in pure noise.

    The last level is made pure noise and the steps begin there (Lin et al., 2024,
    arXiv:2305.08891), which matters where the steps are few.
    """
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        **BETAS,
        prediction_type="v_prediction",
        clip_sample=False,
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )


def low_res_scheduler(levels: int = 1000) -> "DDPMScheduler":
    """Return what adds noise to the small image; with fewer ``levels``, more at each."""
    from diffusers import DDPMScheduler

    return DDPMScheduler(num_train_timesteps=levels, **BETAS)
