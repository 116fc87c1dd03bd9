"""The autoencoder against plain functional calls, and PCA against the SVD."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from course_lib.models import Autoencoder, AutoencoderConfig
from course_lib.models.autoencoder import principal_components


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def model() -> Autoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Autoencoder(AutoencoderConfig(latent_dim=3, channels=(2, 3, 4))).double()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(5, 1, 28, 28, generator=seeded(), dtype=torch.float64)


def reconstruct_by_hand(model: Autoencoder, images: torch.Tensor) -> torch.Tensor:
    """The whole network, written out; the only thing shared is the weights."""
    encoder, decoder = list(model.encoder.parameters()), list(model.decoder.parameters())
    hidden = (images - 0.5) / 0.5
    for layer in range(3):
        weight, bias = encoder[2 * layer], encoder[2 * layer + 1]
        hidden = F.conv2d(hidden, weight, bias, stride=2, padding=1)
        hidden = hidden / (1 + torch.exp(-hidden))
    codes = F.linear(hidden.flatten(1), encoder[6], encoder[7])
    hidden = F.linear(codes, decoder[0], decoder[1])
    hidden = (hidden / (1 + torch.exp(-hidden))).reshape(-1, 4, 4, 4)
    for layer in (1, 2, 3):
        weight, bias = decoder[2 * layer], decoder[2 * layer + 1]
        hidden = F.conv_transpose2d(hidden, weight, bias, stride=2, padding=1)
        if layer < 3:
            hidden = hidden / (1 + torch.exp(-hidden))
    return 1 / (1 + torch.exp(-hidden))


@pytest.mark.equation("ae-reconstruction")
def test_reconstruction_is_decoder_after_encoder(model, images):
    expected = reconstruct_by_hand(model, images)
    assert torch.allclose(model.reconstruct(images), expected, atol=1e-12)
    assert torch.equal(model.reconstruct(images), model.decode(model.encode(images)))
    assert model.encode(images).shape == (5, 3)
    assert model.reconstruct(images).shape == images.shape
    assert model.reconstruct(images).min() > 0
    assert model.reconstruct(images).max() < 1


@pytest.mark.equation("ae-loss")
def test_loss_sums_over_pixels_and_averages_over_the_batch(model, images):
    loss, logs = model.loss(images)
    rebuilt = reconstruct_by_hand(model, images).detach().numpy()
    per_image = [((x - y) ** 2).sum() for x, y in zip(images.numpy(), rebuilt, strict=True)]
    assert loss.item() == pytest.approx(np.mean(per_image), rel=1e-12)
    assert logs["mse"].item() == pytest.approx(np.mean(per_image) / 784, rel=1e-12)
    assert not logs["mse"].requires_grad

    doubled, _ = model.loss(torch.cat([images, images]))
    assert doubled.item() == pytest.approx(loss.item(), rel=1e-12)


@pytest.mark.equation("ae-loss")
def test_gradient_of_the_loss_against_finite_differences(model, images):
    parameters = [model.encoder[0].weight, model.decoder[-1].bias]
    loss, _ = model.loss(images)
    loss.backward()
    for parameter in parameters:
        step = torch.zeros_like(parameter)
        step.view(-1)[0] = 1e-4
        with torch.no_grad():
            parameter += step
            above = model.loss(images)[0]
            parameter -= 2 * step
            below = model.loss(images)[0]
            parameter += step
        slope = (above - below) / 2e-4
        assert parameter.grad.view(-1)[0].item() == pytest.approx(slope.item(), rel=1e-3)


def test_nothing_random_happens(model, images):
    generator = seeded(1)
    before, around = generator.get_state(), torch.get_rng_state()
    assert torch.equal(model.loss(images, generator=generator)[0], model.loss(images)[0])
    assert torch.equal(generator.get_state(), before)
    assert torch.equal(torch.get_rng_state(), around)


def test_default_config_is_used_and_frozen():
    model = Autoencoder()
    assert model.config == AutoencoderConfig(latent_dim=16, channels=(32, 64, 128))
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.config.latent_dim = 3
    with pytest.raises(TypeError):
        AutoencoderConfig(8)


# Principal components: eight pixels, correlated, and far from zero, so that forgetting to
# subtract the mean shows.
def correlated_images(seed: int, n: int = 60) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(8, 8)) * np.geomspace(2, 0.05, 8)
    flat = rng.normal(size=(n, 8)) @ mixing.T + 5 + rng.normal(size=8)
    return torch.from_numpy(flat).reshape(n, 1, 2, 4)


def squared_error(images: torch.Tensor, mean: torch.Tensor, directions: torch.Tensor) -> float:
    """Mean over the images of |x - (mean + V V^T (x - mean))|^2."""
    flat = images.flatten(1).double()
    codes = (flat - mean) @ directions
    return float((flat - mean - codes @ directions.T).square().sum(1).mean())


@pytest.mark.equation("ae-pca")
@given(seed=st.integers(0, 10**6), dim=st.integers(1, 8))
def test_pca_against_the_singular_value_decomposition(seed, dim):
    images = correlated_images(seed)
    mean, directions = principal_components(images, dim)
    flat = images.flatten(1)
    assert torch.allclose(mean, flat.mean(0))
    assert torch.allclose(directions.T @ directions, torch.eye(dim).double(), atol=1e-10)

    _, singular, right = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)
    projector = right[:dim].T @ right[:dim]  # unlike the directions, it has no free sign
    assert torch.allclose(directions @ directions.T, projector, atol=1e-6)
    # Eckart and Young: the error of the best rank-dim map is the tail of the spectrum.
    tail = float(singular[dim:].square().sum()) / len(flat)
    assert squared_error(images, mean, directions) == pytest.approx(tail, abs=1e-9)


@pytest.mark.equation("ae-pca")
@given(seed=st.integers(0, 10**6), dim=st.integers(1, 7))
def test_no_other_projection_or_offset_does_better(seed, dim):
    images = correlated_images(seed)
    mean, directions = principal_components(images, dim)
    best = squared_error(images, mean, directions)
    rng = np.random.default_rng(seed + 1)
    for scale in (0.01, 0.3, 10.0):
        noise = torch.from_numpy(rng.normal(size=directions.shape))
        other = torch.linalg.qr(directions + scale * noise)[0]
        assert squared_error(images, mean, other) >= best - 1e-9
        moved = mean + scale * torch.from_numpy(rng.normal(size=8))
        assert squared_error(images, moved, directions) >= best - 1e-9


@pytest.mark.equation("ae-pca")
def test_no_linear_autoencoder_does_better():
    """Least squares alternates between decoder and encoder, free of any orthogonality."""
    images, dim = correlated_images(3), 2
    best = squared_error(images, *principal_components(images, dim))
    centered = images.flatten(1) - images.flatten(1).mean(0)
    encoder = torch.from_numpy(np.random.default_rng(0).normal(size=(8, dim)))
    errors = []
    for _ in range(200):
        decoder = torch.linalg.lstsq(centered @ encoder, centered).solution
        encoder = torch.linalg.pinv(decoder)
        residual = centered - centered @ encoder @ decoder
        errors.append(float(residual.square().sum(1).mean()))
    assert min(errors) >= best - 1e-9
    assert errors[-1] == pytest.approx(best, rel=1e-4)


def test_pca_keeps_the_type_and_orders_the_directions():
    images = correlated_images(1).float()
    mean, directions = principal_components(images, 8)
    assert mean.dtype == directions.dtype == torch.float32
    assert mean.shape == (8,)
    assert directions.shape == (8, 8)
    variances = ((images.flatten(1) - mean) @ directions).var(0, correction=0)
    assert (variances.diff() <= 1e-6).all()


@pytest.mark.parametrize("dim", [0, 9, -1])
def test_pca_refuses_impossible_dimensions(dim):
    with pytest.raises(ValueError, match=f"dim must be between 1 and 8, not {dim}"):
        principal_components(correlated_images(0), dim)
