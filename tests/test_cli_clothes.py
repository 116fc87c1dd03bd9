"""``course-lib evaluate-clothes``, run in this process."""

import json

import pytest
from typer.testing import CliRunner

from course_lib import data, metrics
from course_lib.cli import app, explain
from course_lib.cli_common import Problem


def run(*arguments: object):
    return CliRunner().invoke(app, ["evaluate-clothes", *map(str, arguments)])


def test_models_are_measured_beside_bicubic(tmp_path):
    file = tmp_path / "numbers.json"
    finished = run("-m", "bicubic,fashion-vae", "--limit", 100, "--draws", 2, "--json", file)
    assert finished.exit_code == 0, finished.output
    told = json.loads(file.read_text())
    assert list(told["models"]) == ["bicubic", "fashion-vae"]
    assert (told["draws"], told["seed"], told["limit"]) == (2, 0, 100)
    assert told["protocol"] == metrics.SMALL_PROTOCOL
    bicubic = metrics.measure_small_upscaling(
        lambda lr, _: data.upscale(lr, 4).clamp(0, 1), draws=1, limit=100
    )
    assert bicubic.pop("images_per_second") > 0
    assert bicubic.items() <= told["models"]["bicubic"].items()
    assert told["models"]["fashion-vae"]["psnr"] > bicubic["psnr"]
    assert "100 images of 7 x 7 pixels" in " ".join(finished.output.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-m", "srdiff"), "unknown model 'srdiff'; known: bicubic, fashion-mean"),
        (("--json", "missing/numbers.json"), "the folder missing does not exist"),
    ],
)
def test_mistakes_are_refused(arguments, message, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    finished = run(*arguments)
    assert isinstance(finished.exception, Problem)
    assert message in str(finished.exception)
    assert explain(finished.exception) != 0
    assert message in capsys.readouterr().err
