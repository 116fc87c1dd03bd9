"""The command line as a user has it: real processes, real files, exit codes.

Every process spends seconds on importing torch, so what a second process would not show
better calls ``main`` in this one.
"""

import functools
import json
import shutil
import sys
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from course_lib import cli, metrics, weights
from course_lib.metrics import evaluation
from course_lib.models import DDPM, DDPMConfig
from course_lib.training import RECIPES


@pytest.fixture
def run(course_cli, tmp_path):
    """Run a command in a process of its own, in an empty folder."""
    return lambda *arguments: course_cli(*arguments, cwd=tmp_path)


@pytest.fixture
def run_here(monkeypatch, tmp_path, capsys):
    """Run a command in this process, in an empty folder: (exit code, stdout, stderr)."""

    def go(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["course-lib", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return (stop.value.code or 0, *capsys.readouterr())

    return go


def assert_refused(finished: tuple[int, str, str], *parts: str) -> None:
    """Exit code 2, one line that says what is wrong, no traceback, nothing on stdout."""
    code, out, err = finished
    assert code == 2, err
    assert out == ""
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    for part in parts:
        assert part in err


def test_the_command_is_installed():
    (entry,) = (e for e in entry_points(group="console_scripts") if e.name == "course-lib")
    assert entry.value == "course_lib.cli:main"
    assert entry.load() is cli.main
    assert shutil.which("course-lib", path=str(Path(sys.executable).parent))


def test_help_lists_the_commands(run, run_here):
    finished = run("--help")
    assert finished.returncode == 0
    for command in ("train", "sample", "evaluate", "models"):
        assert command in finished.stdout
    _, out, err = run_here()
    assert "Usage" in out + err


def test_models_are_listed_with_their_metrics(run):
    finished = run("models")
    assert finished.returncode == 0, finished.stderr
    text = " ".join(finished.stdout.split())
    assert weights.names()
    for name in weights.names():
        card = weights.card(name)
        assert name in text
        assert f"{card['parameters']:,}" in text
        for key, value in card["metrics"].items():
            assert key in text
            assert f"{value:.4g}" in text


def test_sampling_to_an_array(run, run_here, tmp_path):
    """Two processes with the same seed write the same bytes; nothing is overwritten unasked."""
    target, other = tmp_path / "samples.npz", tmp_path / "other.npz"
    command = ("sample", "vae-2d", "-n", 7, "--seed", 3, "-o")
    for path in (target, other):
        finished = run(*command, path)
        assert finished.returncode == 0, finished.stderr
        assert f"7 images from vae-2d (seed 3) are in {path}" in finished.stdout
    with np.load(target) as archive:
        assert archive.files == ["images"]
        images = archive["images"]
    assert images.dtype == np.uint8
    assert images.shape == (7, 28, 28)
    assert images.max() > 100
    assert len(np.unique(images.reshape(7, -1), axis=0)) == 7
    assert target.read_bytes() == other.read_bytes()

    assert_refused(
        run_here("sample", "vae-2d", "-n", 7, "--seed", 4, "-o", target),
        f"{target} exists already; --force overwrites it",
    )
    assert target.read_bytes() == other.read_bytes()
    assert run_here("sample", "vae-2d", "-n", 7, "--seed", 4, "-o", target, "--force")[0] == 0
    with np.load(target) as archive:
        assert not np.array_equal(archive["images"], images)


def test_sampling_to_a_contact_sheet(run, tmp_path):
    """Ten images make a sheet of four columns and three rows with gaps of two pixels."""
    finished = run("sample", "vae-2d", "--output", "sheet.PNG", "--number", 10)
    assert finished.returncode == 0, finished.stderr
    with Image.open(tmp_path / "sheet.PNG") as sheet:
        assert sheet.format == "PNG"
        assert sheet.mode == "L"
        assert sheet.size == (4 * 30 - 2, 3 * 30 - 2)


def test_more_images_than_a_batch_are_all_there(run_here, tmp_path):
    code, out, _ = run_here("sample", "vae-2d", "-o", "many.npz", "-n", 501)
    assert code == 0
    assert "501 images" in out
    with np.load(tmp_path / "many.npz") as archive:
        images = archive["images"]
    assert images.shape == (501, 28, 28)
    assert len(np.unique(images.reshape(501, -1), axis=0)) > 490


def test_unknown_models_are_refused_and_the_known_ones_listed(run, run_here, tmp_path):
    finished = run("sample", "painter", "-o", "x.npz")
    assert_refused(
        (finished.returncode, finished.stdout, finished.stderr),
        f"there is no model 'painter'; known: {', '.join(weights.names())}",
    )
    assert_refused(
        run_here("train", "painter"),
        f"there is no recipe 'painter'; known: {', '.join(RECIPES)}",
    )
    assert list(tmp_path.iterdir()) == []


def test_outputs_that_cannot_be_written_are_refused_before_any_work(
    run_here, monkeypatch, tmp_path
):
    monkeypatch.setattr(weights, "load", None)
    (tmp_path / "folder.png").mkdir()
    for output, message in (
        ("x.gif", "must end in .npz or .png, but 'x.gif' does not"),
        ("x", "must end in .npz or .png, but 'x' does not"),
        ("nowhere/x.png", "the folder nowhere does not exist"),
        ("[draft]/x.png", "the folder [draft] does not exist"),
        ("folder.png", "folder.png is a folder"),
    ):
        assert_refused(run_here("sample", "vae-2d", "-o", output), message)


def test_the_name_of_the_output_is_kept(run_here, tmp_path):
    assert run_here("sample", "vae-2d", "-n", 1, "-o", "x.NPZ")[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["x.NPZ"]
    assert_refused(run_here("sample", "vae-2d", "-o", "x.NPZ"), "exists already")


def test_a_run_of_ones_own_can_be_sampled(run_here, tmp_path):
    model = weights.load("vae-2d")
    weights.publish(model, "mine", {}, tmp_path / "run")
    assert run_here("sample", "mine", "--from", "run", "-n", 3, "-o", "mine.npz")[0] == 0
    assert run_here("sample", "vae-2d", "-n", 3, "-o", "theirs.npz")[0] == 0
    assert (tmp_path / "mine.npz").read_bytes() == (tmp_path / "theirs.npz").read_bytes()


def test_shipped_models_are_not_replaced_by_half_measures(run_here, monkeypatch):
    assert_refused(run_here("train", "vae", "--publish"), "--publish", "needs --full")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert_refused(run_here("train", "vae", "--publish", "--full"), "is not writable")


def test_files_in_the_way_are_explained(run_here, tmp_path):
    (tmp_path / "run").write_text("a file")
    command = ("train", "autoencoder", "--steps", 1, "--batch-size", 2, "--quiet", "-o", "run")
    code, _, err = run_here(*command)
    assert code == 2
    assert err.startswith("error: ")
    assert "run" in err


def test_an_autoencoder_has_nothing_to_sample_from(run_here, tmp_path):
    assert_refused(
        run_here("sample", "autoencoder", "-o", "x.npz"),
        "'autoencoder' is not a generative model",
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("sample", "vae-2d"),
        ("sample", "vae-2d", "-o", "x.npz", "-n", "0"),
        ("train", "vae-2d", "--steps", "0"),
        ("train", "vae-2d", "--save-seconds", "-1"),
        ("sample", "vae-2d", "-o", "x.npz", "--seed", "99999999999999999999"),
        ("sample", "vae-2d", "-o", "x.npz", "--steps", "0"),
        ("evaluate", "vae-2d", "-n", "99"),
        ("evaluate", "vae-2d", "-n", "12001"),
        ("evaluate",),
        ("train", "vae-2d", "--seed", "-1"),
        ("paint",),
    ],
    ids=" ".join,
)
def test_wrong_options_are_explained(run_here, arguments):
    code, _, err = run_here(*arguments)
    assert code == 2
    assert "Error" in err
    assert "Usage" in err


def test_training_from_start_to_card(run, run_here, tmp_path):
    """A run of two steps; then other settings are refused, and too large a batch."""
    folder = tmp_path / "short"
    command = ("train", "autoencoder", "--batch-size", 4, "--output", folder, "--steps")
    finished = run(*command, 2)
    assert finished.returncode == 0, finished.stderr
    text = " ".join(finished.stdout.split())
    card = weights.card("autoencoder", folder)
    assert f"autoencoder: mse {card['metrics']['mse']:.4g}" in text
    assert f"weights and card are in {folder}" in text
    assert "2/2" in text  # the progress bar
    assert card["command"] == "course-lib train autoencoder --steps 2 --batch-size 4"
    assert not weights.load("autoencoder", folder).training
    assert_refused(run_here(*command, 3), "holds a run with other settings (steps was 2, now 3)")
    assert_refused(
        run_here("train", "vae-2d", "--batch-size", 20_000, "--quiet"),
        "batch_size 20000 is larger than the 12000 examples",
    )


# Measuring


@pytest.fixture
def canned(monkeypatch):
    """Numbers at no time: models are loaded and sampled, but what they draw is not measured."""
    numbers = dict.fromkeys(("frechet", "precision", "recall", "smallest_share"), 0.5)
    numbers |= {f"{key}_floor": 0.25 for key in numbers}
    numbers |= {"frechet_ratio": 2.0, "reference": 2000, "shares": {"Bag": 1.0}}
    drawn = []

    def evaluate(images, **options):
        drawn.append(images)
        return numbers | {"samples": len(images)}

    monkeypatch.setattr(evaluation, "evaluate", evaluate)
    return drawn


def rows(out: str) -> dict[str, list[str]]:
    """The rows of a printed table: what is measured, and the cells beside it."""
    cells = (line[1:-1].split("│") for line in out.splitlines() if line.startswith("│"))
    return {label.strip(): [value.strip() for value in values] for label, *values in cells}


def test_a_model_is_measured(run, run_here, tmp_path):
    """Table and file hold what the package measures; another process finds the same."""
    command = ("evaluate", "vae-2d", "-n", 150, "--seed", 3, "--json")
    finished = run(*command, "found.json")
    assert finished.returncode == 0, finished.stderr
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    measured = metrics.evaluate_model("vae-2d", 150, 3)
    assert {key: found[key] for key in metrics.headline(measured)} == metrics.headline(measured)
    assert found["shares"] == measured["shares"]
    assert found["protocol"] == metrics.PROTOCOL
    assert (found["model"], found["seed"], found["samples"]) == ("vae-2d", 3, 150)
    assert found["from"] is found["sampler"] is found["steps"] is None

    assert "150 samples of vae-2d and as many real images, each against 2,000 test images" in (
        " ".join(finished.stdout.split())
    )
    table = rows(finished.stdout)
    assert table["Fréchet feature distance (lower is better)"] == [
        f"{found['frechet']:.4g}",
        f"{found['frechet_floor']:.4g}",
    ]
    assert table["in units of the real images' own"] == [f"{found['frechet_ratio']:.4g}", "1"]
    for key in ("precision", "recall"):
        assert table[key] == [f"{found[key]:.1%}", f"{found[key + '_floor']:.1%}"]
    assert table["smallest share of a class"] == [
        f"{found['smallest_share']:.1%}",
        f"{found['smallest_share_floor']:.1%}",
    ]
    for name, share in found["shares"].items():
        assert table[f"share of {name}"] == [f"{share:.1%}", ""]
    assert metrics.PROTOCOL in finished.stdout
    assert "the numbers are in found.json" in finished.stdout

    content = (tmp_path / "found.json").read_bytes()
    assert_refused(run_here(*command, "found.json"), "found.json exists already; --force")
    assert (tmp_path / "found.json").read_bytes() == content


def test_a_run_of_ones_own_can_be_measured(run_here, tmp_path, canned):
    weights.publish(weights.load("vae-2d"), "[mine]", {}, tmp_path / "run")
    code, out, err = run_here("evaluate", "[mine]", "--from", "run", "-n", 100, "--json", "x.json")
    assert code == 0, err
    assert "100 samples of [mine]" in " ".join(out.split())
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))["from"] == "run"
    assert run_here("evaluate", "vae-2d", "-n", 100)[0] == 0
    assert torch.equal(*canned)


def test_what_cannot_be_measured_is_refused(run_here, tmp_path):
    for name in ("autoencoder", "classifier"):
        assert_refused(run_here("evaluate", name), f"{name!r} is not a generative model")
    assert_refused(run_here("evaluate", "painter"), "there is no model 'painter'; known: ")
    assert_refused(
        run_here("evaluate", "vae-2d", "--json", "no/x.json"), "folder no does not exist"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [("sample", "vae-2d", "-o", "x.npz"), ("evaluate", "vae-2d")])
def test_options_of_diffusion_models_are_theirs_alone(run_here, tmp_path, command):
    message = "'vae-2d' is not sampled by steps, so it has no option"
    assert_refused(run_here(*command, "--steps", 5), message, "'steps'")
    assert_refused(run_here(*command, "--sampler", "ddim"), message, "'sampler'")
    assert list(tmp_path.iterdir()) == []


def test_sampler_and_steps_of_a_diffusion_model(run_here, monkeypatch, tmp_path, canned):
    """They reach the model from both commands, and change what is drawn."""
    torch.manual_seed(0)
    model = DDPM(DDPMConfig(timesteps=8, channels=(8,), attention=(False,)))
    weights.publish(model, "tiny", {}, tmp_path / "run")
    calls = []
    sample = DDPM.sample

    @functools.wraps(sample)
    def watched(self, n, **options):
        calls.append((n, options.get("sampler"), options.get("steps")))
        return sample(self, n, **options)

    monkeypatch.setattr(DDPM, "sample", watched)
    options = ("tiny", "--from", "run", "--sampler", "dpm-solver", "--steps", 2)
    assert run_here("sample", *options, "-n", 3, "-o", "x.npz")[0] == 0
    assert run_here("sample", *options[:-1], 4, "-n", 3, "-o", "y.npz")[0] == 0
    assert (tmp_path / "x.npz").read_bytes() != (tmp_path / "y.npz").read_bytes()
    assert run_here("evaluate", *options, "-n", 100, "--json", "x.json")[0] == 0
    assert calls == [(3, "dpm-solver", 2), (3, "dpm-solver", 4), (100, "dpm-solver", 2)]
    found = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    assert (found["sampler"], found["steps"]) == ("dpm-solver", 2)
    for command in (("sample", "-o", "z.npz"), ("evaluate",)):
        assert_refused(
            run_here(*command, "tiny", "--from", "run", "--sampler", "euler"),
            "unknown sampler 'euler'; known: ddpm, ddim, dpm-solver",
        )
