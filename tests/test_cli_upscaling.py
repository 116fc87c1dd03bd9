"""The commands for enlarging images, as a user has them: files, folders, mistakes."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from course_lib import bench as benchmarks
from course_lib import cli, cli_common, cli_upscaling, data, metrics, upscaling, weights
from course_lib.upscaling import RegressionConfig, ResidualSR, SRDiff, SRDiffConfig


@pytest.fixture
def run_here(monkeypatch, tmp_path, capsys):
    """Run a command in this process, in an empty folder: (exit code, stdout, stderr)."""

    def go(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(cli_common.out, "width", 250)
        monkeypatch.setattr(sys, "argv", ["course-lib", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return (stop.value.code or 0, *capsys.readouterr())

    return go


@pytest.fixture
def picture(tmp_path):
    """Write a small photograph under a name."""

    def write(name: str, size: tuple[int, int] = (12, 9)) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data.to_image(data.example("arches")).resize(size).save(path)
        return path

    return write


@pytest.fixture
def tiny(tmp_path) -> Path:
    """A tiny SRDiff of the embedded kind, of which samples differ, as a run's folder."""
    config = SRDiffConfig(
        encoder="residual",
        encoder_blocks=1,
        encoder_features=8,
        denoiser="compact",
        hidden=8,
        multipliers=(1, 2),
        base="encoder",
        timesteps=6,
        sampler="ddim",
        steps=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SRDiff(config)
    weights.publish(model, "tiny", {}, tmp_path / "run")
    return tmp_path / "run"


def assert_refused(finished: tuple[int, str, str], *parts: str) -> None:
    code, out, err = finished
    assert code == 2, err
    assert out == ""
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    for part in parts:
        assert part in err


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# upscale


def test_one_file(run_here, picture, tmp_path):
    source = picture("photo.png")
    code, out, err = run_here("upscale", source, "-o", "large.png", "--model", "bicubic")
    assert (code, err) == (0, "")
    assert f"{source} -> large.png: 48 x 36" in out
    expected = upscaling.load("bicubic").upscale(Image.open(source)).image
    assert np.array_equal(pixels(tmp_path / "large.png"), np.asarray(expected))
    assert files(tmp_path) == ["large.png", "photo.png"]


def test_files_folders_and_patterns(run_here, picture, tmp_path):
    """Each image once, whatever names it; a folder keeps the names."""
    picture("a.png")
    picture("folder/b.bmp")
    picture("folder/c.webp")
    picture("folder/inner/left-out.png")
    (tmp_path / "folder" / "notes.txt").write_text("no image")
    picture("more/d.png")
    picture("more/[e].png")
    inputs = ("a.png", "folder", "more/*.png", "folder/../a.png", "more/[e].png")
    code, out, err = run_here("upscale", *inputs, "-o", "out", "--model", "nearest")
    assert code == 0, err
    assert files(tmp_path / "out") == ["[e].png", "a.png", "b.png", "c.png", "d.png"]
    assert len(out.splitlines()) == 5


@pytest.mark.parametrize(
    ("options", "name", "kind"),
    [
        (("-o", "x.jpg"), "x.jpg", "JPEG"),
        (("-o", "x.TIF"), "x.TIF", "TIFF"),
        (("-o", "x.webp"), "x.webp", "WEBP"),
        (("-o", "out"), "out/photo.png", "PNG"),
        (("-o", "out", "--format", "jpg"), "out/photo.jpg", "JPEG"),
        (("-o", "a/b/", "--format", "bmp"), "a/b/photo.bmp", "BMP"),
    ],
)
def test_formats(run_here, picture, tmp_path, options, name, kind):
    picture("photo.webp")
    code, _, err = run_here("upscale", "photo.webp", "--model", "nearest", *options)
    assert code == 0, err
    with Image.open(tmp_path / name) as image:
        assert (image.format, image.size) == (kind, (48, 36))


def test_the_model_is_asked_as_the_user_says(run_here, picture, tiny, tmp_path):
    source = picture("photo.png", (64, 70))
    options = ("--model", tiny, "--steps", 3, "--sampler", "dpm++", "--temperature", 0.5)
    for name, more in (("a", ()), ("b", ()), ("c", ("--seed", 1)), ("d", ("--tile", 64))):
        code, _, err = run_here("upscale", source, "-o", f"{name}.png", *options, *more)
        assert code == 0, err
    a, b, c, d = (pixels(tmp_path / f"{name}.png") for name in "abcd")
    expected = upscaling.load(tiny).upscale(
        Image.open(source), steps=3, sampler="dpm-solver", temperature=0.5, seed=0
    )
    assert np.array_equal(a, np.asarray(expected.image))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    assert d.shape == a.shape


def test_a_comparison_beside_the_result(run_here, picture, tmp_path):
    source = picture("photo.png")
    command = ("upscale", source, "-o", "large.jpg", "--model", "nearest", "--compare")
    assert run_here(*command)[0] == 0
    sheet = pixels(tmp_path / "large-compare.png")
    assert sheet.shape == (36, 2 * 48 + cli_upscaling.GAP, 3)
    for half, model in ((sheet[:, :48], "bicubic"), (sheet[:, -48:], "nearest")):
        expected = upscaling.load(model).upscale(Image.open(source)).image
        assert np.array_equal(half, np.asarray(expected))
    assert (sheet[:, 48:-48] == 255).all()
    (tmp_path / "large.jpg").unlink()
    assert_refused(run_here(*command), "large-compare.png exists already")
    assert not (tmp_path / "large.jpg").exists()


def test_transparency(run_here, tmp_path):
    """It is kept where it can be; laid on white, the result is the enlargement of what lay on
    white."""
    alpha = Image.linear_gradient("L").resize((12, 9))
    image = Image.new("RGB", (12, 9), (200, 30, 60))
    image.putalpha(alpha)
    image.save(tmp_path / "glass.png")
    code, out, _ = run_here("upscale", "glass.png", "-o", "large.png", "--model", "bicubic")
    assert code == 0
    assert "transparency kept" in out
    with Image.open(tmp_path / "large.png") as large:
        assert large.mode == "RGBA"
        found = np.asarray(large).astype(int)
        laid = Image.alpha_composite(Image.new("RGBA", large.size, "white"), large)
    small = data.to_tensor(Image.merge("RGB", [alpha] * 3))
    expected = data.to_image(data.upscale(small, 4, clip=True)).getchannel(0)
    assert np.array_equal(found[..., 3], np.asarray(expected))
    seen = found[..., 3] > 128
    assert np.abs(found[seen][:, :3] - (200, 30, 60)).max() <= 4
    on_white = upscaling.load("bicubic").upscale(data.read_image(tmp_path / "glass.png").rgb).image
    apart = np.asarray(laid.convert("RGB")).astype(int) - np.asarray(on_white).astype(int)
    assert np.abs(apart).max() <= 2

    code, out, _ = run_here("upscale", "glass.png", "-o", "large.jpg", "--model", "bicubic")
    assert code == 0
    assert "transparent parts on white" in out
    assert pixels(tmp_path / "large.jpg").shape == (36, 48, 3)


def test_what_was_done_to_an_image_is_told(run_here, tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    code, out, _ = run_here("upscale", "film.gif", "-o", "large.png", "--model", "nearest")
    assert code == 0
    assert "first frame of 2" in out


def test_bad_images_are_left_out_and_named_at_the_end(run_here, picture, tmp_path):
    picture("in/a.png")
    (tmp_path / "in" / "b.png").write_bytes(b"no image")
    picture("in/c.png")
    whole = picture("in/d.png").read_bytes()
    (tmp_path / "in" / "d.png").write_bytes(whole[: len(whole) // 2])
    code, _, err = run_here("upscale", "in", "-o", "out", "--model", "nearest")
    assert code == 1
    assert files(tmp_path / "out") == ["a.png", "c.png"]
    summary = err[err.index("2 of 4 images could not be enlarged") :]
    assert "b.png" in summary
    assert "d.png" in summary
    assert "Traceback" not in err


def test_an_image_that_the_format_cannot_hold(run_here, picture, tmp_path):
    picture("wide.png", (4200, 1))
    code, _, err = run_here("upscale", "wide.png", "-o", "x.webp", "--model", "nearest")
    assert code == 1
    assert "wide.png" in err
    assert "WEBP" in err
    assert files(tmp_path) == ["wide.png"]


def test_a_full_disk_leaves_the_former_file(run_here, picture, monkeypatch, tmp_path):
    picture("a.png")
    (tmp_path / "x.png").write_bytes(b"former")
    write_bytes = Path.write_bytes

    def full(self, content):
        write_bytes(self, content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    command = ("upscale", "a.png", "-o", "x.png", "--model", "nearest", "--force")
    code, _, err = run_here(*command)
    assert code == 1
    assert "No space left" in err
    assert files(tmp_path) == ["a.png", "x.png"]
    assert (tmp_path / "x.png").read_bytes() == b"former"


def test_mistakes_are_refused_before_any_work(run_here, picture, monkeypatch, tmp_path):
    for name in ("a.png", "a.webp", "b.png", "sub/a.png", "A.PNG"):
        picture(name)
    (tmp_path / "text.txt").write_text("no image")
    (tmp_path / "empty").mkdir()
    before = files(tmp_path)
    monkeypatch.setattr(upscaling, "load", None, raising=False)
    for arguments, message in (
        (("gone.png", "-o", "x.png"), "gone.png does not exist"),
        (("*.jpg", "-o", "x.png"), "no images in *.jpg"),
        (("empty", "-o", "x"), "no images in empty"),
        (("a.png", "b.png", "-o", "x.png"), "2 images do not fit into the file x.png"),
        (("a.png", "-o", "x.gif"), "must be a folder, or end in .png"),
        (("a.png", "-o", "x.png", "--format", "jpg"), "no jpg file"),
        (("a.png", "-o", "x", "--format", "gif"), "unknown format 'gif'"),
        (("a.png", "-o", "nowhere/x.png"), "the folder nowhere does not exist"),
        (("a.png", "-o", "text.txt/x"), "text.txt is a file"),
        (("a.png", "-o", "b.png"), "b.png exists already"),
        (("a.png", "-o", "a.png", "--force"), "a.png is an input"),
        (("sub", "-o", "sub", "--force"), "is an input"),
        (("a.png", "a.webp", "-o", "x"), "a.png and a.webp would both become"),
        (("a.png", "sub", "-o", "x"), "would both become"),
        (("a.png", "A.PNG", "-o", "x"), "would both become"),
    ):
        assert_refused(run_here("upscale", *arguments), message)
    assert files(tmp_path) == before


def test_options_that_a_model_does_not_have(run_here, picture, tiny, tmp_path):
    picture("a.png")
    before = files(tmp_path)
    for options, message in (
        (("--model", "painter"), "there is no upscaler 'painter'"),
        (("--model", "bicubic", "--steps", 3), "bicubic draws nothing, so it has no steps"),
        (("--model", tiny, "--sampler", "euler"), "no sampler 'euler'"),
        (("--model", tiny, "--steps", 7), "steps must be between 1 and 6"),
        (("--model", tiny, "--scale", 3), "enlarges by 4, not by 3"),
        (("--model", "nearest", "--tile", 63), "multiple of 4"),
        (("--model", "nearest", "--tile", "small"), "'small'"),
    ):
        assert_refused(run_here("upscale", "a.png", "-o", "x/", *options), message)
    (tmp_path / "bad.ckpt").write_bytes(b"nothing")
    assert_refused(run_here("upscale", "a.png", "-o", "x/", "--model", "bad.ckpt"), "bad.ckpt")
    assert files(tmp_path) == sorted([*before, "bad.ckpt"])


@pytest.mark.skipif(os.name == "nt", reason="signals are another matter there")
def test_ctrl_c_leaves_whole_files_only(picture, environment, tmp_path):
    """A real process and a real signal, in the midst of the second image."""
    picture("in/a.png")
    picture("in/b.png", (1000, 1000))
    script = (
        # Where the tests run in a shell's background, Ctrl-C is ignored by what they start.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import sys, time, torch; from course_lib import cli, upscaling\n"
        "from course_lib.upscaling import upscalers\n"
        "def slow(self, lr, request, plain=upscalers.Nearest.enlarge):\n"
        "    if lr.shape[2] > 100: print('busy', flush=True); time.sleep(60)\n"
        "    return plain(self, lr, request)\n"
        "upscalers.Nearest.enlarge = slow\n"
        "sys.argv = ['course-lib', 'upscale', 'in', '-o', 'out', '--model', 'nearest']\n"
        "cli.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        lines = iter(process.stdout.readline, "")
        assert any(line.startswith("busy") for line in lines)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "stopped; 1 of 2 images are done" in err
    assert "Traceback" not in err
    assert files(tmp_path / "out") == ["a.png"]


# evaluate-sr


@pytest.fixture
def originals(picture, tmp_path) -> Path:
    picture("originals/a.png", (41, 36))
    picture("originals/b.webp", (36, 40))
    return tmp_path / "originals"


def test_upscalers_are_measured(run_here, originals, tiny, tmp_path):
    """Table and file hold what the package measures."""
    options = ("--models", "nearest,bicubic", "--models", tiny, "--samples", 2, "--seed", 3)
    command = ("evaluate-sr", "--images", originals, *options, "--steps", 1)
    command = (*command, "--distance", "none", "--json", "x.json")
    code, out, err = run_here(*command)
    assert code == 0, err
    found = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    assert list(found["models"]) == ["nearest", "bicubic", str(tiny)]
    assert found["protocol"] == metrics.SR_PROTOCOL
    assert found["command"] == shlex.join(["course-lib", *map(str, command)])
    assert {"date", "machine", "torch"} <= found.keys()
    pairs = [(path.name, data.read_image(path).rgb) for path in sorted(originals.iterdir())]
    for name, options in (("bicubic", {}), (tiny, {"steps": 1, "samples": 2})):
        measured = metrics.measure_upscaler(upscaling.load(name), pairs, seed=3, **options)
        assert found["models"][str(name)] == json.loads(json.dumps(measured))
    text = " ".join(out.split())
    assert f"{found['models']['bicubic']['mean']['psnr_y']:.2f}" in text
    assert f"{found['models'][str(tiny)]['mean']['ssim_y']:.4f}" in text
    assert metrics.SR_PROTOCOL in out
    assert_refused(run_here(*command), "x.json exists already")


def test_numbers_are_recorded_in_the_cards(run_here, originals, monkeypatch, tmp_path):
    """With the bicubic numbers beside them; all else in the card stays."""
    shipped = tmp_path / "shipped"
    model = ResidualSR(RegressionConfig(channels=4, inner_channels=4, blocks=1, inner_blocks=1))
    about = {"summary": "tiny", "metrics": {}, "details": {"rows": [1]}}
    weights.publish(model, "regression", about, shipped)
    before = weights.card("regression", shipped)
    monkeypatch.setattr("course_lib.weights.store.folder", lambda: shipped)
    monkeypatch.setattr(weights, "folder", lambda: shipped)
    command = ("evaluate-sr", "--images", originals, "--distance", "none", "--models", "regression")
    for name in ("Two", "Other"):
        code, _, err = run_here(*command, "--record", name)
        assert code == 0, err
    card = weights.card("regression", shipped)
    benchmarks = card["details"].pop("benchmarks")
    assert card == before
    assert list(benchmarks) == ["Two", "Other"]
    entry = benchmarks["Two"]
    assert (entry["images"], entry["scale"], entry["samples"]) == (2, 4, 1)
    # A network that has learned nothing is an enlargement by PyTorch's bicubic filter.
    assert entry["psnr_y"] == pytest.approx(entry["bicubic"]["psnr_y"], abs=1)
    weights.load("regression", shipped)
    assert_refused(run_here(*command, "--record", "x", "--steps", 2), "--record")
    assert_refused(run_here(*command[:-1], "nearest", "--record", "x"), "--record needs")


def test_measurements_that_are_not_possible(run_here, originals, monkeypatch, tmp_path):
    command = ("evaluate-sr", "--distance", "none", "--models", "nearest", "--images")
    assert_refused(run_here(*command, "nowhere"), "there is no folder nowhere")
    (originals / "c.png").write_bytes(b"no image")
    assert_refused(run_here(*command, originals), "c.png is not an image")
    (originals / "c.png").unlink()
    assert_refused(
        run_here("evaluate-sr", "--distance", "taste", "--images", originals),
        "unknown perceptual distance 'taste'",
        "--distance none",
    )


# bench


def test_the_table_of_speeds(run_here, monkeypatch, tmp_path):
    asked = []
    base = {
        "scale": 4,
        "peak_bytes": 700_000_000,
        "import_bytes": 600_000_000,
        "operations": 10**9,
        "psnr_y": 27.5,
        "ssim_y": 0.75,
        "extrapolated": False,
    }

    def answer(request):
        asked.append(request)
        if request["model"] == benchmarks.CONVOLUTION:
            return {"peak": 5e9, "threads": 2}
        if request["model"] == benchmarks.PLAIN:
            unknown = {"psnr_y": None, "ssim_y": None, "peak_bytes": None}
            return (
                base | unknown | {"model": request["model"], "seconds": 300, "extrapolated": True}
            )
        return base | {"model": request["model"], "seconds": 0.5}

    monkeypatch.setattr(benchmarks, "in_own_process", answer)
    options = ("--models", f"srdiff,{benchmarks.PLAIN}", "--size", 64, "--repeat", 2)
    code, out, err = run_here("bench", *options, "--json", "x.json")
    assert code == 0, err
    assert {(each["size"], each["repeat"]) for each in asked} == {(64, 2)}
    cells = {
        line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[2:-1]]
        for line in out.splitlines()
        if line.startswith("│")
    }
    assert cells["srdiff"] == ["0.5", "7.63", "600", "700 (600)", "40%", "27.50", "0.7500"]
    assert cells[benchmarks.PLAIN][:4] == ["~300", "~4.58e+03", "1", "unknown"]
    assert benchmarks.PROTOCOL in out
    assert "2 threads" in out
    found = json.loads((tmp_path / "x.json").read_text())
    assert found["models"][0]["faster"] == 600
    assert {"command", "date", "machine", "torch"} <= found.keys()
    assert_refused(run_here("bench", "--size", 30), "size must be a multiple of 4")


# What belongs to the other commands


@pytest.mark.parametrize("kind", ["regression", "srdiff"])
def test_models_that_upscale_are_not_sampled(run_here, tiny, tmp_path, kind):
    if kind == "regression":
        config = RegressionConfig(channels=4, inner_channels=4, blocks=1, inner_blocks=1)
        weights.publish(ResidualSR(config), "tiny", {}, tiny)
    for command in (("sample", "-o", "x.npz"), ("evaluate",)):
        finished = run_here(*command, "tiny", "--from", tiny)
        assert_refused(finished, "'tiny' enlarges images", "course-lib upscale")
    assert not metrics.draws(weights.load("tiny", tiny))


def test_models_lists_upscalers_last_with_their_factor(run_here, monkeypatch):
    cards = {
        "alpha": {"model": "ResidualSR", "config": {"scale": 4}, "summary": "one that enlarges"},
        "beta": {"model": "VAE", "config": {}, "summary": "one that draws"},
    }
    cards = {k: v | {"name": k, "parameters": 5, "metrics": {}} for k, v in cards.items()}
    monkeypatch.setattr(weights, "names", lambda: sorted(cards))
    monkeypatch.setattr(weights, "card", lambda name: cards[name])
    code, out, _ = run_here("models")
    assert code == 0
    text = " ".join(out.split())
    assert "one that enlarges (enlarges by 4)" in text
    assert text.index("beta") < text.index("alpha")
