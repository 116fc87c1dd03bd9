"""OpenVINO computes what PyTorch does, for any size, and says nothing to anybody."""

import subprocess
import sys

import pytest
import torch
from torch.testing import assert_close

from course_lib import weights
from course_lib.upscaling import ResidualSR, UpscalingError, load, runtime
from course_lib.upscaling.runtime import RUNTIMES, Compiled, compiled, installed
from course_lib.upscaling.upscalers import Diffusion, wrap

needs_openvino = pytest.mark.skipif("openvino" not in installed(), reason="needs OpenVINO")


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@needs_openvino
@pytest.mark.parametrize("kind", ["tiny_srdiff", "tiny_embedded"])
def test_the_same_pictures_for_any_size(request, kind):
    with torch.no_grad():
        torch.manual_seed(0)
        models = [request.getfixturevalue(kind)() for _ in range(2)]
        for parameter in models[0].parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
        models[1].load_state_dict(models[0].state_dict())
    plain, fast = Diffusion(models[0]), Diffusion(models[1], "openvino")
    assert isinstance(fast.model.denoise_fn, Compiled)
    for shape in ((1, 3, 8, 8), (2, 3, 5, 11)):
        of_each = [
            upscaler.upscale(images(*shape), sampler="ddim", steps=3, seed=1).image
            for upscaler in (plain, fast)
        ]
        assert_close(*of_each, rtol=0, atol=1e-4)  # epsilon's errors grow in the first steps
        other = plain.upscale(images(*shape), sampler="ddim", steps=3, seed=2).image
        assert (other - of_each[0]).abs().max() > 1e-3  # the denoiser's part can be seen


@needs_openvino
def test_a_name_is_loaded_with_a_runtime(tmp_path, tiny_embedded):
    weights.publish(tiny_embedded(), "mine", {}, tmp_path)
    assert isinstance(load(tmp_path, runtime="openvino").model.denoise_fn, Compiled)
    assert not isinstance(load(tmp_path).model.denoise_fn, Compiled)


@needs_openvino
def test_bfloat16_only_where_the_processor_has_it(tiny_srdiff, monkeypatch):
    class Core:
        def get_property(self, device, name):
            return ["FP32"]

    monkeypatch.setattr(runtime.openvino(), "Core", Core)
    with pytest.raises(UpscalingError, match="bfloat16"):
        compiled(tiny_srdiff(), "openvino-bf16")


@needs_openvino
def test_the_telemetry_of_openvino_is_not_imported():
    script = (
        "import sys; from course_lib.upscaling.runtime import openvino; openvino()\n"
        "print(*(n for n in sys.modules if n.startswith('openvino_telemetry')))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert finished.stdout.strip() == ""


def test_without_openvino_the_message_says_how_to_get_it(tiny_srdiff, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "openvino"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UpscalingError, match=r"course_lib\[fast\]"):
        compiled(tiny_srdiff(), "openvino")
    monkeypatch.setattr(runtime.importlib.util, "find_spec", lambda name: None)
    assert installed() == ["torch"]


def test_unknown_runtimes_and_models_without_steps(tiny_srdiff):
    with pytest.raises(UpscalingError, match=f"known: {', '.join(RUNTIMES)}"):
        compiled(tiny_srdiff(), "jax")
    for name in ("nearest", "regression"):
        with pytest.raises(UpscalingError, match="known: torch"):
            load(name, runtime="jax")
        with pytest.raises(UpscalingError, match="PyTorch only"):
            load(name, runtime="openvino")
    with pytest.raises(UpscalingError, match="PyTorch only"):
        wrap(ResidualSR(), "openvino")
