"""The models of the course, a module a chapter, each to be read next to it."""

from .autoencoder import Autoencoder, AutoencoderConfig
from .classifier import Classifier, ClassifierConfig
from .dcgan import DCGAN, DCGANConfig
from .ddpm import DDPM, DDPMConfig
from .gan import GAN, GANConfig
from .unet import UNet, UNetConfig
from .vae import VAE, VAEConfig
from .wgan import WGAN, WGANConfig

__all__ = [
    "DCGAN",
    "DDPM",
    "GAN",
    "VAE",
    "WGAN",
    "Autoencoder",
    "AutoencoderConfig",
    "Classifier",
    "ClassifierConfig",
    "DCGANConfig",
    "DDPMConfig",
    "GANConfig",
    "UNet",
    "UNetConfig",
    "VAEConfig",
    "WGANConfig",
]
