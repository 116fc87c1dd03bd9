"""The models of the course, a module a chapter, each to be read next to it."""

from .autoencoder import Autoencoder, AutoencoderConfig
from .vae import VAE, VAEConfig

__all__ = ["VAE", "Autoencoder", "AutoencoderConfig", "VAEConfig"]
