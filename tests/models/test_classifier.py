"""The classifier: its layers, its loss and augmentation, and what the shipped one can do."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

from course_lib import data, weights
from course_lib.models import Classifier, ClassifierConfig
from course_lib.models.classifier import SHIFT, shifted
from course_lib.training import TrainConfig, fit


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def tiny() -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Classifier(ClassifierConfig(channels=(8, 8, 8, 16), feature_dim=5))


def test_shapes(tiny):
    images = torch.rand(3, 1, 28, 28, generator=seeded())
    assert tiny.features(images).shape == (3, 5)
    assert tiny(images).shape == (3, 10)
    assert torch.equal(tiny(images), tiny.head(tiny.features(images)))
    other = Classifier(ClassifierConfig(channels=(8, 8, 8, 16), feature_dim=5, classes=4))
    assert other(images).shape == (3, 4)


def test_layers_by_hand(tiny):
    """The whole network, written out; the only thing shared is the weights."""
    images = torch.rand(3, 1, 28, 28, generator=seeded())
    p = list(tiny.parameters())
    hidden = (images - 0.286) / 0.353
    for layer, pool in enumerate((F.max_pool2d, F.max_pool2d, None, F.avg_pool2d)):
        weight, bias, scale, offset = p[4 * layer : 4 * layer + 4]
        hidden = F.conv2d(hidden, weight, bias, padding=1)
        groups = hidden.unflatten(1, (8, -1))
        mean = groups.mean((2, 3, 4), keepdim=True)
        variance = groups.var((2, 3, 4), keepdim=True, correction=0)
        hidden = ((groups - mean) / (variance + 1e-5).sqrt()).flatten(1, 2)
        hidden = hidden * scale[:, None, None] + offset[:, None, None]
        hidden = hidden * torch.sigmoid(hidden)
        if pool:
            hidden = pool(hidden, 2, ceil_mode=layer == 3)
    features = F.linear(hidden.flatten(1), p[16], p[17])
    features = features * torch.sigmoid(features)
    assert torch.allclose(tiny.features(images), features, atol=1e-5)
    assert torch.allclose(tiny(images), F.linear(features, p[18], p[19]), atol=1e-5)


def test_pixels_are_standardized_as_those_of_the_data_are(train_images):
    standardized = (train_images - 0.286) / 0.353
    assert standardized.mean().abs() < 0.02
    assert standardized.std() == pytest.approx(1, abs=0.02)


def test_images_do_not_depend_on_their_batch_nor_on_the_mode(tiny):
    """No batch norm, no dropout: published weights are all that there is."""
    images = torch.rand(6, 1, 28, 28, generator=seeded())
    assert torch.allclose(tiny.features(images)[2:3], tiny.features(images[2:3]), atol=1e-6)
    assert torch.equal(tiny.train()(images), tiny.eval()(images))
    assert list(tiny.buffers()) == []


def test_budget():
    model = Classifier()
    assert sum(parameter.numel() for parameter in model.parameters()) <= 300_000
    multiplications = 0

    def count(module, inputs, output):
        nonlocal multiplications
        multiplications += module.weight[0].numel() * output[0].numel()

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    model(torch.zeros(1, 1, 28, 28))
    assert 1e6 < multiplications <= 5e6


def test_config_is_kept_and_frozen():
    assert Classifier().config == ClassifierConfig()
    assert ClassifierConfig().feature_dim == 64
    with pytest.raises(dataclasses.FrozenInstanceError):
        Classifier().config.feature_dim = 3


def test_every_image_moves_by_itself_and_black_comes_in():
    """Each result is the image in one of 25 places; all places occur, and differ in a batch."""
    image = 0.1 + torch.rand(1, 1, 9, 9, generator=seeded())
    moved = shifted(image.expand(400, 1, 9, 9), generator=seeded(1))
    assert moved.shape == (400, 1, 9, 9)
    padded = F.pad(image, (SHIFT,) * 4)[0, 0]
    places = {
        (down, across): padded[down : down + 9, across : across + 9]
        for down in range(5)
        for across in range(5)
    }
    found = []
    for result in moved[:, 0]:
        (place,) = (key for key, value in places.items() if torch.equal(value, result))
        found.append(place)
    assert set(found) == set(places)
    assert torch.equal(shifted(image, generator=seeded(5)), shifted(image, generator=seeded(5)))


def test_different_images_stay_apart():
    images = torch.rand(20, 1, 9, 9, generator=seeded())
    moved = shifted(images, generator=seeded(1))
    for before, after in zip(images, moved, strict=True):
        assert torch.equal(before[0, 4, 4], after[after == before[0, 4, 4]][0])


def test_loss_is_the_cross_entropy_of_shifted_images(tiny):
    """With the labels chosen such that four of seven guesses are right."""
    brightness = torch.linspace(0, 1, 7)[:, None, None, None]
    images = brightness * torch.rand(7, 1, 28, 28, generator=seeded())
    with torch.no_grad():
        logits = tiny(shifted(images, generator=seeded(2))).numpy()
    labels = logits.argmax(1)
    labels[:3] = (labels[:3] + 1) % 10
    batch = (images, torch.from_numpy(labels))
    loss, logs = tiny.loss(batch, generator=seeded(2))
    log_probabilities = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    chosen = log_probabilities[np.arange(7), labels]
    assert loss.item() == pytest.approx(-chosen.mean(), rel=1e-5)
    assert logs["accuracy"].item() == pytest.approx(4 / 7)
    assert loss.requires_grad
    assert not logs["accuracy"].requires_grad
    assert tiny.loss(batch, generator=seeded(3))[0] != loss


def test_it_learns():
    """Thirty steps of a small one already say much more than chance."""
    train, test = data.load(split="train"), data.load(split="test")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Classifier(ClassifierConfig(channels=(8, 8, 16, 16), feature_dim=16))
    lines = []
    trained = fit(
        model,
        TensorDataset(train.images[:2000], train.labels[:2000]),
        TrainConfig(steps=30, batch_size=32, learning_rate=1e-2, ema=0, log_every=15),
        quiet=True,
        on_log=lines.append,
    )
    assert lines[-1]["loss"] < lines[0]["loss"] < math.log(10)
    assert lines[-1]["accuracy"] > lines[0]["accuracy"]
    with torch.inference_mode():
        right = trained(test.images[:300]).argmax(1) == test.labels[:300]
    assert right.float().mean() > 0.5


def test_the_shipped_one_knows_the_classes(shipped):
    """92 % of all test images, and of those that ship about as many."""
    assert isinstance(shipped, Classifier)
    accuracy = weights.card("classifier")["metrics"]["accuracy"]
    assert accuracy >= 0.92
    test = data.load(split="test")
    with torch.inference_mode():
        right = shipped(test.images[:800]).argmax(1) == test.labels[:800]
    assert right.float().mean() == pytest.approx(accuracy, abs=0.02)


def test_no_feature_of_the_shipped_one_is_dead(shipped, test_images):
    """Each varies, so that the covariance has full rank, of a few hundred images already."""
    with torch.inference_mode():
        features = shipped.features(test_images[:300]).double()
    eigenvalues = torch.linalg.eigvalsh(torch.cov(features.T))
    assert eigenvalues.min() > 1e-4 * eigenvalues.max()
