"""The page on super-resolution, driven as a visitor would, without a browser."""

from pathlib import Path

import pytest
import torch
from streamlit.testing.v1 import AppTest

import common
import models
from course_lib.upscaling import SRDiff, SRDiffConfig, UpscalingError
from jobs import DONE, FAILED
from visiting import PATIENCE, button, finish, start, text, upload

DEMOS = Path(__file__).parents[2] / "demos"


@pytest.fixture
def open_page(monkeypatch, queue):
    """Open the page, as with ``streamlit run demos/st_app1.py -- ARGUMENTS``."""

    def run(*arguments: str) -> AppTest:
        monkeypatch.setattr("sys.argv", ["st_app1.py", *arguments])
        app = AppTest.from_file(str(DEMOS / "st_app1.py"), default_timeout=PATIENCE).run()
        assert not app.exception
        return app

    return run


def use(app: AppTest, model: str) -> AppTest:
    return app.selectbox(key="model").set_value(model).run()


def test_nothing_runs_by_itself(open_page):
    app = open_page()
    assert app.title[0].value == "Super-resolution with SRDiff"
    assert not app.header
    assert "srdiff-job" not in app.session_state
    assert "all of its 256 × 256 pixels to 1024 × 1024" in text(app)
    assert not button(app, "Upscale").disabled


def test_a_model_has_only_its_options(open_page):
    app = open_page()
    assert app.slider(key="steps-srdiff-some").value == 8
    app.selectbox(key="sampler-srdiff").set_value("ddpm").run()
    steps = app.slider(key="steps-srdiff-all")
    assert (steps.value, steps.disabled) == (100, True)
    use(app, "regression")
    assert not app.sidebar.slider
    assert not app.sidebar.number_input
    assert "one answer" in text(app)


def test_fewer_samples_of_large_pictures(open_page):
    app = open_page()
    assert app.slider(key="samples-8").max == 8
    app.select_slider(key="limit").set_value(512).run()
    assert app.slider(key="samples-2").max == 2


def test_a_run_gives_all_that_is_promised(open_page, picture_file):
    app = upload(open_page(), "my *picture*.png", picture_file(64, 48))
    app.toggle(key="truth").set_value(True)
    app.slider(key="steps-srdiff-some").set_value(2)
    app.slider(key="samples-8").set_value(3).run()
    finish(start(app))
    assert [header.value for header in app.header] == ["Result"]
    assert [header.value for header in app.subheader] == [
        "Measured against the original",
        "All samples",
        "Where the samples differ",
    ]
    assert r"my \*picture\*.png as the ground truth" in text(app)
    assert "DDIM with 2 steps, seed 0, 3 samples" in text(app)
    for row in ("Bicubic", "SRDiff, sample 1", "SRDiff, mean of 3"):
        assert f"| {row} |" in text(app)
    assert "a border of 4 pixels left out" in text(app)
    assert [each.label for each in app.get("download_button")] == [
        "Download sample 1 as PNG",
        "Download all 3 as a zip",
    ]


def test_the_result_survives_and_tells_what_it_belongs_to(open_page, picture_file):
    app = upload(open_page(), "picture.png", picture_file(16, 16))
    app.slider(key="steps-srdiff-some").set_value(1)
    app.slider(key="samples-8").set_value(2).run()
    result = finish(start(app)).session_state["srdiff-result"]
    assert not app.info
    app.radio(key="shown").set_value(1).run()
    assert app.get("download_button")[0].label == "Download sample 2 as PNG"
    app.number_input(key="seed").set_value(7).run()
    assert app.session_state["srdiff-result"] is result
    assert "changed settings" in app.info[0].value
    assert "seed 0" in text(app)
    app.number_input(key="seed").set_value(0).run()
    assert not app.info


def test_a_waiting_visitor_sees_the_place_and_can_leave(open_page, gate):
    app = start(open_page())
    assert button(app, "Upscale").disabled
    assert common.progress_of(app.session_state["srdiff-job"], 1)[1] == (
        "Waiting: 1 run to go before yours"
    )
    button(app, "Cancel").click().run()
    assert "cancelled" in app.info[0].value
    assert not button(app, "Upscale").disabled


def test_ten_visitors_are_served_in_the_order_in_which_they_came(
    open_page, queue, gate, picture_file
):
    apps = [use(open_page(), "regression") for _ in range(10)]
    for number, app in enumerate(apps):
        start(upload(app, f"visitor {number}.png", picture_file(16 + number, 16)))
    jobs = [app.session_state["srdiff-job"] for app in apps[:9]]
    assert [queue.ahead(job) for job in jobs] == list(range(1, 10))
    assert "try again in a minute" in apps[9].warning[0].value, "there is room for nine"
    assert "srdiff-job" not in apps[9].session_state

    gate.set()
    for place, job in enumerate(jobs):
        assert job.wait(PATIENCE)
        assert all(earlier.ended for earlier in jobs[:place])
    finish(start(apps[9]))
    for number, app in enumerate([*map(finish, apps[:9]), apps[9]]):
        result = app.session_state["srdiff-result"]
        assert result.size == (4 * (16 + number), 64)
        assert f"Regression: visitor {number}.png" in text(app)
        assert sum(map(len, result.samples)) < 26e6


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.png", b"just some text", "not an image"),
        ("empty.png", b"", "the image is empty"),
        ("cut.png", b"\x89PNG\r\n\x1a\n", "damaged"),
    ],
)
def test_a_bad_file_has_a_message(open_page, name, content, message):
    app = upload(open_page(), name, content)
    assert message in app.error[0].value
    assert name in app.error[0].value
    assert button(app, "Upscale").disabled


def test_a_photograph_is_offered_as_a_part_and_as_a_whole(open_page, photograph):
    app = upload(open_page(), "photo.jpg", photograph)
    assert "JPEG, 3000 × 4000 pixels; turned as the camera says" in text(app)
    assert "a part of 256 × 256 pixels, framed" in text(app)
    app.slider(key="cut-across").set_value(0)
    app.slider(key="cut-down").set_value(100).run()
    assert not app.exception
    app.radio(key="how").set_value("the whole, made smaller").run()
    assert "first made smaller to 192 × 256 pixels, to 768 × 1024" in text(app)


def test_what_fails_has_a_message(open_page, monkeypatch, picture_file):
    def fail(*arguments):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("results.spread_of", fail)
    app = upload(open_page(), "picture.png", picture_file(16, 16))
    app.slider(key="steps-srdiff-some").set_value(1)
    app.slider(key="samples-8").set_value(2).run()
    job = start(app).session_state["srdiff-job"]
    finish(app)
    assert job.state == FAILED
    assert "not enough memory" in app.error[0].value
    monkeypatch.undo()


def test_a_model_that_cannot_be_loaded_has_a_message(open_page, monkeypatch):
    models.shipped.clear()

    def fail(name):
        raise UpscalingError("its file is damaged")

    monkeypatch.setattr(models, "load", fail)
    app = open_page()
    assert "SRDiff cannot be loaded. its file is damaged" in app.error[0].value
    assert button(app, "Upscale").disabled


@pytest.mark.parametrize("content", [None, b"not a checkpoint"])
def test_a_checkpoint_that_cannot_be_used_is_not_offered(open_page, tmp_path, content):
    path = tmp_path / "foreign.ckpt"
    if content:
        path.write_bytes(content)
    app = open_page("--checkpoint", str(path))
    assert "foreign.ckpt" in app.warning[0].value
    assert str(tmp_path) not in app.warning[0].value
    assert len(app.selectbox(key="model").options) == 2
    assert not button(app, "Upscale").disabled


def test_the_authors_checkpoint_is_offered(open_page, tmp_path, monkeypatch, picture_file):
    tiny = SRDiffConfig(hidden=8, multipliers=(1, 1), encoder_blocks=2, encoder_features=8)
    path = tmp_path / "tiny.ckpt"
    torch.save({"state_dict": {"model": SRDiff(tiny).state_dict()}}, path)
    monkeypatch.setattr(SRDiffConfig, "official", lambda name: tiny)
    monkeypatch.setenv(models.VARIABLE, str(path))
    app = upload(use(open_page(), models.OFFICIAL), "picture.png", picture_file(16, 16))
    assert app.selectbox(key="sampler-official").value == "ddpm"
    app.selectbox(key="sampler-official").set_value("ddim").run()
    app.slider(key="steps-official-some").set_value(1).run()
    job = start(app).session_state["srdiff-job"]
    finish(app)
    assert job.state == DONE
    assert "the authors' checkpoint" in text(app)


def test_the_argument_comes_before_the_environment():
    environment = {models.VARIABLE: "b.ckpt"}
    assert models.checkpoint_path(["--checkpoint", "a.ckpt"], environment).name == "a.ckpt"
    assert models.checkpoint_path(["--checkpoint"], environment).name == "b.ckpt"
    assert models.checkpoint_path(["other"], {}) is None


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (59.5, "60 s"), (60, "1 min"), (61, "2 min")]
)
def test_time_left_is_never_too_short(seconds, words):
    assert common.duration(seconds) == words


def test_the_longer_the_wait_the_less_often_a_page_looks():
    paces = [common.pace(ahead) for ahead in range(10)]
    assert paces == sorted(paces)
    assert (paces[0], paces[1], paces[-1]) == (1, 4, 10)
    assert sum(1 / pace for pace in paces) < 3, "ten pages must leave time for the work"


def test_the_launcher_begins_with_pictures_from_noise():
    app = AppTest.from_file(str(DEMOS / "home.py"), default_timeout=PATIENCE).run()
    assert not app.exception
    assert app.title[0].value == "Pictures from noise"
