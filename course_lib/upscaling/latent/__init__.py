"""Upscaling by latent diffusion: Stability's x4 upscaler, and small ones of our own.

Chapter: *Stable Diffusion upscaling*.
"""

from .autoencoder import LatentAutoencoder, LatentAutoencoderConfig
from .color import COLOR_FIXES, adain, coarse, wavelet
from .diffusion import LatentDiffusion, LatentDiffusionConfig
from .upscaler import Conditioning, LatentUpscaler

__all__ = [
    "COLOR_FIXES",
    "Conditioning",
    "LatentAutoencoder",
    "LatentAutoencoderConfig",
    "LatentDiffusion",
    "LatentDiffusionConfig",
    "LatentUpscaler",
    "adain",
    "coarse",
    "wavelet",
]
