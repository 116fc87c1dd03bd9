"""The measuring of speed: what is counted, what is extrapolated, in which process."""

import io
import json
import subprocess
import sys

import pytest
import torch

from course_lib import bench, data, weights
from course_lib.bench import BenchError
from course_lib.metrics import count_operations
from course_lib.upscaling import SRDiff, SRDiffConfig


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still, but for what the test adds."""
    now = [0.0]
    monkeypatch.setattr(bench.time, "perf_counter", lambda: now[0])
    return now


def test_the_median_after_a_call_to_warm_up(clock):
    durations = iter([100.0, 1.0, 9.0, 2.0, 50.0])

    def work():
        clock[0] += next(durations)

    seconds, _ = bench.timed(work, 3)
    assert seconds == 2.0


@pytest.mark.parametrize("runtime", [None, "torch", *bench.COMPILED])
def test_the_official_loop_is_extrapolated_from_some_steps(clock, monkeypatch, runtime):
    """Preparing takes 10 s, a projection 1 s, a step 2 s but for the first: of 12, two are made."""
    tuned = runtime is not None
    tiny = SRDiffConfig(
        hidden=8, multipliers=(1, 2), encoder_blocks=3, encoder_features=8, timesteps=12
    )
    calls = dict.fromkeys(("encoder", "project", "steps"), 0)

    class Timed(SRDiff):
        def __init__(self, config):
            super().__init__(config)
            encode, project = self.rrdb.forward_with_condition, self.denoise_fn.project

            def slow_encode(lr):
                calls["encoder"] += 1
                clock[0] += 10
                return encode(lr)

            def slow_project(features):
                calls["project"] += 1
                clock[0] += 1
                return project(features)

            self.rrdb.forward_with_condition = slow_encode
            self.denoise_fn.project = slow_project

        def denoise(self, x_t, t, condition):
            calls["steps"] += 1
            clock[0] += 2 if calls["steps"] > 1 else 1000
            assert torch.is_inference_mode_enabled() == tuned
            return super().denoise(x_t, t, condition)

    monkeypatch.setattr(bench, "SRDiff", Timed)
    lr = torch.full((1, 3, 8, 8), 0.5)
    seconds, operations, _ = bench.official(lr, repeat=2, runtime=runtime, config=tiny)
    assert seconds == (11 + 12 * 2 if tuned else 10 + 12 * (1 + 2))
    assert calls["steps"] == 1 + 2 + 1  # to warm up, measured, counted

    model = SRDiff(tiny)
    whole = count_operations(lambda: model.sample(lr))
    features = torch.zeros(1, model.rrdb.condition_channels, 8, 8)
    projection = count_operations(lambda: model.denoise_fn.project(features))
    resized = count_operations(lambda: model.base(lr, model.condition(lr)))
    resized -= count_operations(lambda: model.condition(lr))  # the loop has no need of a base
    extra = 0 if tuned else 11 * projection
    assert operations == whole - resized + extra


@pytest.fixture
def here(monkeypatch, capsys):
    """Answer a request as the new process would, in this one."""

    def go(request: dict) -> dict:
        monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(request)))
        bench.main()
        return json.loads(capsys.readouterr().out)

    return go


def test_a_model_of_ones_own_in_a_process_of_its_own(tmp_path, monkeypatch, here):
    config = SRDiffConfig(
        encoder="residual",
        encoder_blocks=1,
        encoder_features=8,
        denoiser="compact",
        hidden=8,
        multipliers=(1, 2),
        base="encoder",
        sampler="ddim",
        steps=2,
    )
    torch.manual_seed(0)
    weights.publish(SRDiff(config), "tiny", {}, tmp_path / "run")
    originals = tmp_path / "originals"
    originals.mkdir()
    data.to_image(data.example("arches")[..., :40, :40]).save(originals / "a.png")
    told = []
    run = str(tmp_path / "run")
    real = bench.in_own_process

    def answer(request):  # one process shows what three would
        return real(request) if request["model"] == run else here(request)

    monkeypatch.setattr(bench, "in_own_process", answer)
    found = bench.bench([run, "nearest"], size=16, repeat=1, images=originals, on_model=told.append)
    assert told == [bench.CONVOLUTION, run, "nearest"]
    assert found["peak"] > 1e8
    assert found["threads"] >= 1
    assert (found["size"], found["repeat"], found["images"]) == (16, 1, str(originals))
    tiny, nearest = found["models"]
    assert (tiny["model"], nearest["model"]) == (run, "nearest")
    assert tiny["operations"] > 1e6
    assert nearest["operations"] == 0
    assert tiny["megapixel_seconds"] == pytest.approx(tiny["seconds"] / 64**2 * 1e6)
    assert tiny["share"] == pytest.approx(tiny["operations"] / tiny["seconds"] / found["peak"])
    for row in (tiny, nearest):
        assert 5 < row["psnr_y"] < 60
        assert 0 < row["ssim_y"] <= 1
        assert not row["extrapolated"]
        assert row["faster"] is None  # the official one was not measured
        assert row["import_bytes"] <= row["peak_bytes"]
    json.dumps(found, allow_nan=False)


def test_how_many_times_faster(monkeypatch):
    seconds = {"bicubic": 0.5, bench.PLAIN: 600.0}

    def answer(request):
        if request["model"] == bench.CONVOLUTION:
            return {"peak": 1e9, "threads": 2}
        return {
            "model": request["model"],
            "scale": 4,
            "seconds": seconds[request["model"]],
            "operations": 10**8,
        }

    monkeypatch.setattr(bench, "in_own_process", answer)
    small, plain = bench.bench(["bicubic", bench.PLAIN], size=16)["models"]
    assert (small["faster"], plain["faster"]) == (1200, 1)
    assert small["share"] == pytest.approx(0.2)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_peak_is_the_process_s_own():
    """A child of a large process starts small; what it takes and gives back still counts."""
    ballast = bytearray(400_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    script = (
        "from course_lib.bench import peak_memory\n"
        "before = peak_memory()\n"
        "taken = bytearray(300_000_000); taken[::4096] = b'x' * len(taken[::4096]); del taken\n"
        "print(before, peak_memory())"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    before, after = map(int, finished.stdout.split())
    assert bench.peak_memory() > before + 200_000_000
    assert 290_000_000 < after - before < 330_000_000


def test_what_cannot_be_measured_is_explained(tmp_path, monkeypatch, here):
    for options in ({"size": 12}, {"size": 18}, {"repeat": 0}):
        with pytest.raises(BenchError, match="must be"):
            bench.bench(["nearest"], **options)
    request = {"size": 16, "repeat": 1, "images": str(tmp_path / "nowhere")}
    with pytest.raises(SystemExit, match="there is no upscaler 'painter'"):
        here({"model": "painter", **request})
    with pytest.raises(SystemExit, match="there is no folder"):
        here({"model": "nearest", **request})
    failed = subprocess.CompletedProcess([], 1, "", "a warning\nthere is no folder\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(BenchError, match=r"nearest could not be measured: there is no folder$"):
        bench.in_own_process({"model": "nearest", **request})


def test_the_protocol_speaks_of_both_official_runs():
    for name in (bench.PLAIN, f"{bench.PLAIN}@torch"):
        assert f"'{name}'" in bench.PROTOCOL
        assert name in bench.MODELS


def test_a_runtime_is_named_after_an_at_sign():
    assert bench.split_runtime("srdiff@openvino") == ("srdiff", "openvino")
    assert bench.split_runtime("srdiff") == ("srdiff", None)
    assert bench.split_runtime("me@home/runs/srdiff") == ("me@home/runs/srdiff", None)
