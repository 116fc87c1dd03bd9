"""Real-ESRGAN: the files of ncnn are read exactly or refused, and the published network works.

Most tests write such files for a tiny network; the last ones need the package that holds the
published one, `pip install 'course_lib[realesrgan]'`, and are skipped without.
"""

import struct
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from course_lib import data, metrics, upscaling
from course_lib.upscaling import CheckpointError, UpscalingError, realesrgan
from course_lib.upscaling.rrdb import RRDBConfig, RRDBEncoder
from course_lib.upscaling.upscalers import RealESRGAN, load

ACTIVATED = ("conv1", "conv2", "conv3", "conv4", "upconv1", "upconv2", "HRconv")


def tiny(seed: int = 0, blocks: int = 2) -> RRDBEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return RRDBEncoder(RRDBConfig(blocks=blocks, features=4)).eval().requires_grad_(False)


def write_ncnn(model: RRDBEncoder, folder: Path, *, half: bool = True) -> tuple[Path, Path]:
    """Write a network as ncnn's tools would: an input, a convolution each, what is between."""
    lines, content = ["Input  in  0 1 data"], b""
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d):
            sizes = f"0={layer.out_channels} 1=3 4=1 5=1 6={layer.weight.numel()}"
            slope = " 9=2 -23310=1,2.0e-01" if name.rpartition(".")[2] in ACTIVATED else ""
            lines.append(f"Convolution  Conv_{len(lines)}  1 1 a b {sizes}{slope}")
            lines.append("Concat  Concat_1  2 1 a b c")
            weight = layer.weight.numpy().astype("<f2" if half else "<f4").tobytes()
            content += struct.pack("<I", 0x01306B47 if half else 0)
            content += weight + b"\0" * (-len(weight) % 4) + layer.bias.numpy().tobytes()
    param, binary = folder / "realesrgan-x4plus.param", folder / "realesrgan-x4plus.bin"
    param.write_text("\n".join(["7767517", f"{len(lines)} {len(lines)}", *lines]) + "\n")
    binary.write_bytes(content)
    return param, binary


def test_single_precision_is_read_exactly(tmp_path):
    written, read = tiny(1), tiny(2)
    realesrgan.read_ncnn(read, *write_ncnn(written, tmp_path, half=False))
    assert all(map(torch.equal, read.state_dict().values(), written.state_dict().values()))


def test_half_precision_is_rounded_and_filled_up(tmp_path):
    """The biases stay in single precision; an odd number of weights does not shift the rest."""
    written, read = tiny(1), tiny(2)
    odd = nn.Conv2d(4, 3, 3, padding=1)
    odd.weight = nn.Parameter(odd.weight[:, :3].clone(), requires_grad=False)  # 81 weights
    odd.bias.requires_grad_(False)
    written.conv_first, read.conv_first = odd, nn.Conv2d(3, 3, 3, padding=1)
    realesrgan.read_ncnn(read, *write_ncnn(written, tmp_path))
    for (name, mine), theirs in zip(
        read.state_dict().items(), written.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, theirs.half().float() if name.endswith("weight") else theirs)


def test_a_network_of_another_depth_is_refused(tmp_path):
    files = write_ncnn(tiny(blocks=3), tmp_path)
    with pytest.raises(CheckpointError, match="51 convolutions, but the network has 36"):
        realesrgan.read_ncnn(tiny(), *files)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("7767517", "7767518", "is no .param file of ncnn"),
        ("6=108", "6=144", "of conv_first, but it should be"),
        (" 1=3", " 1=5", "of conv_first, but it should be"),
        (" 9=2 ", " 9=1 ", r"of RRDB_trunk\.0\.RDB1\.conv1, but it should be"),
        (" 4=1", " 4=one", "line 4 describes no layer"),
        ("Concat  Concat_1  2 1 a b c", "Concat", "line 5 describes no layer"),
    ],
)
def test_a_description_of_something_else_is_refused(tmp_path, old, new, complaint):
    param, binary = write_ncnn(tiny(), tmp_path)
    text = param.read_text()
    assert old in text
    param.write_text(text.replace(old, new, 1))
    with pytest.raises(CheckpointError, match=complaint):
        realesrgan.read_ncnn(tiny(), param, binary)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda content: content[:-1], "ends too early"),
        (lambda content: b"", "unknown kind|ends too early"),
        (lambda content: content + bytes(4), "has 4 bytes too many"),
        (lambda content: b"\1" + content[1:], "unknown kind, 0x01306b01"),
    ],
)
def test_damaged_numbers_are_refused_before_anything_is_changed(tmp_path, damage, complaint):
    param, binary = write_ncnn(tiny(1), tmp_path)
    binary.write_bytes(damage(binary.read_bytes()))
    model = tiny(2)
    with pytest.raises(CheckpointError, match=complaint):
        realesrgan.read_ncnn(model, param, binary)
    assert all(map(torch.equal, model.state_dict().values(), tiny(2).state_dict().values()))


def test_an_empty_description_is_refused(tmp_path):
    param, binary = write_ncnn(tiny(), tmp_path)
    param.write_text("")
    with pytest.raises(CheckpointError, match=r"is no \.param file"):
        realesrgan.read_ncnn(tiny(), param, binary)


# Finding the files


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A package of the name that is looked for, which must not be imported; its models' folder."""
    models = tmp_path / realesrgan.PACKAGE / "models"
    models.mkdir(parents=True)
    (models.parent / "__init__.py").write_text("raise RuntimeError('no graphics driver')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, realesrgan.PACKAGE, raising=False)
    return models


def test_the_published_network_is_loaded_by_its_name(package, monkeypatch):
    _, binary = write_ncnn(tiny(1), package)
    monkeypatch.setattr(realesrgan, "CONFIG", RRDBConfig(blocks=2, features=4))
    with pytest.raises(CheckpointError, match="is damaged or another file: its SHA-256"):
        load("realesrgan")
    checksum = realesrgan.hashlib.sha256(binary.read_bytes()).hexdigest()
    monkeypatch.setattr(realesrgan, "SHA256", checksum)
    upscaler = load("realesrgan", scale=4)
    assert isinstance(upscaler, RealESRGAN)
    assert (upscaler.name, upscaler.scale, upscaler.random) == ("realesrgan", 4, False)
    lr = torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    image, _ = upscaler.model(2 * lr - 1)
    assert_close(upscaler.upscale(lr).image, image / 2 + 0.5)
    with pytest.raises(UpscalingError, match="enlarges by 4, not by 2"):
        load("realesrgan", scale=2)
    with pytest.raises(UpscalingError, match="realesrgan runs on PyTorch only"):
        load("realesrgan", runtime="openvino")


@pytest.mark.parametrize("ending", ["param", "bin"])
def test_a_file_that_is_missing_is_named(package, ending):
    write_ncnn(tiny(), package)
    (package / f"realesrgan-x4plus.{ending}").unlink()
    with pytest.raises(CheckpointError, match=rf"there is no .*\.{ending}; reinstall it: pip"):
        load("realesrgan")


def test_without_its_package_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(realesrgan, "find_spec", lambda name: None)
    with pytest.raises(UpscalingError, match=r"pip install 'course_lib\[realesrgan\]'"):
        load("realesrgan")


def test_it_is_named_among_what_is_known():
    assert "realesrgan" not in upscaling.UPSCALERS
    with pytest.raises(UpscalingError, match=r"known: nearest, .*realesrgan"):
        load("esrgan")


# The published network

needs_the_package = pytest.mark.skipif(
    find_spec(realesrgan.PACKAGE) is None,
    reason=f"the package with the weights is not installed: {realesrgan.INSTALL}",
)


@pytest.fixture(scope="module")
def published() -> RealESRGAN:
    return load("realesrgan")


@needs_the_package
def test_the_published_network_has_all_its_weights(published):
    assert realesrgan.PACKAGE not in sys.modules
    values = list(published.model.parameters())
    assert sum(value.numel() for value in values) == 16_697_987
    assert all(bool(value.isfinite().all()) for value in values)


@needs_the_package
def test_the_published_network_sharpens_what_it_was_given(published):
    hr = data.example("stones")[..., :96, :96]
    lr = data.quantize(data.downscale(hr, 4))
    bicubic = data.upscale(lr, 4, clip=True)
    sr = published.upscale(lr).image
    assert metrics.lr_psnr(sr, lr, 4) > 25
    assert metrics.gradient_ratio(sr, hr) > 1.5 * metrics.gradient_ratio(bicubic, hr)


@needs_the_package
def test_the_published_network_answers_as_ncnn_does(published):
    """The numbers are those of the package ncnn 1.0.20261020, on the processor, without half."""
    lr = (torch.arange(18).reshape(1, 3, 2, 3) * 7 % 18) / 17
    expected = torch.tensor(
        [
            [[-0.0050, 0.3109, 0.7872], [-0.0527, 0.3026, 0.9883]],
            [[0.2133, 0.4557, 0.3410], [0.2550, 0.6715, 0.2735]],
            [[0.4392, 0.6116, 0.4069], [0.4152, 0.7446, 0.1339]],
        ]
    )
    sr = published.upscale(lr).image[0]
    assert_close(sr[:, ::4, ::4], expected.clamp(0, 1), atol=1e-4, rtol=0)
