"""The page on Stable Diffusion upscaling, driven as a visitor would, without a browser."""

import subprocess
import sys
import threading
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

import common
import latent
import models
from course_lib.upscaling import Progress, UpscalingError, load
from course_lib.upscaling.latent import (
    Conditioning,
    LatentDiffusion,
    LatentDiffusionConfig,
    LatentUpscaler,
    published,
)
from course_lib.upscaling.latent.published import Plan, PublishedError
from jobs import CANCELLED, FAILED
from results import Settings
from views import in_words
from visiting import PATIENCE, button, finish, start, text, upload

PAGE = Path(__file__).parents[2] / "demos" / "st_app2.py"
JOB, RESULT, LOADING = "latent-job", "latent-result", "latent-loading"
PLAN = Plan(
    source="owner/name",
    revision=None,
    local=False,
    download_bytes=3_500_000_000,
    load_bytes=3_500_000_000,
    peak_bytes=6_000_000_000,
    free_memory=16_000_000_000,
    free_disk=50_000_000_000,
    device="cpu",
    dtype="float32",
    offload="nothing",
    variant=None,
    files=(),
    problems=(),
)


@pytest.fixture(scope="module")
def pipeline():
    """A tiny pipeline with random weights."""
    config = LatentDiffusionConfig(
        autoencoder=(16, 16, 16),
        channels=(16, 32),
        words=("a", "bridge"),
        text_width=16,
        text_layers=1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LatentDiffusion(config).eval()
        with torch.no_grad():  # so that its answers depend on all that it is told
            model.unet.conv_out.weight.mul_(3)
    return model.pipeline()


@pytest.fixture(scope="module")
def tiny(pipeline) -> LatentUpscaler:
    return LatentUpscaler(pipeline)


@pytest.fixture(scope="module")
def folder(pipeline, tmp_path_factory) -> Path:
    """A folder of published weights."""
    path = tmp_path_factory.mktemp("published") / "weights"
    pipeline.save_pretrained(path, safe_serialization=True)
    return path


@pytest.fixture
def shelf(monkeypatch) -> latent.Shelf:
    """A shelf of the test's own, from which nothing can be loaded."""
    shelf = latent.Shelf()
    monkeypatch.setattr(latent, "shelf", lambda: shelf)
    monkeypatch.setattr(latent, "load", lambda *_, **__: pytest.fail("nobody has asked for it"))
    return shelf


@pytest.fixture
def loads(monkeypatch, shelf, tiny) -> list[str]:
    """Let the small model be the tiny one; the list tells what was loaded."""
    loaded = []
    monkeypatch.setattr(latent, "load", lambda name: loaded.append(name) or tiny)
    return loaded


@pytest.fixture
def open_page(queue, shelf):
    def run() -> AppTest:
        app = AppTest.from_file(str(PAGE), default_timeout=PATIENCE).run()
        assert not app.exception
        return app

    return run


def use_published(app: AppTest, source: str | Path = "owner/name") -> AppTest:
    app.selectbox(key="latent-kind").set_value(models.PUBLISHED).run()
    app.text_input(key="latent-source").set_value(str(source)).run()
    assert not app.exception
    return app


def loading_button(app: AppTest):
    return next(button for button in app.button if button.label.startswith("Load"))


def prepared_page(open_page, picture_file, **sliders: float) -> AppTest:
    """Open the page with a small picture, one step, and the given values of sliders."""
    app = upload(open_page(), "picture.png", picture_file(16, 12))
    for name, value in ({"steps": 1} | sliders).items():
        app.slider(key=f"latent-{name}-latent").set_value(value)
    return app.run()


def image_of(file: bytes) -> Image.Image:
    return Image.open(BytesIO(file))


# the small model


def test_opening_the_page_imports_no_model(environment):
    code = (
        "import sys; from streamlit.testing.v1 import AppTest; "
        f"sys.path.insert(0, {str(PAGE.parent)!r}); "
        f"app = AppTest.from_file({str(PAGE)!r}, default_timeout={PATIENCE}).run(); "
        "app.selectbox(key='latent-kind').set_value('published').run(); "
        "print(len(app.exception), 'diffusers' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0", "False", "False"]


def test_nothing_runs_by_itself(open_page, queue):
    app = open_page()
    assert app.title[0].value == "Stable Diffusion upscaling"
    assert not app.header
    assert JOB not in app.session_state
    assert "no evidence" in text(app)
    assert "has learned next to nothing from words" in text(app)
    assert "Runs on the CPU in float32" in text(app)
    assert "a part of 128 × 128 pixels, framed in the picture, to 512 × 512" in text(app)
    assert not button(app, "Upscale").disabled


def test_options_of_the_small_model_are_known_before_it_is_there(tiny):
    assert replace(latent.Options.of(tiny), needs="") == latent.SMALL_OPTIONS


def test_a_run_does_all_that_was_asked_for(open_page, loads, tiny, picture_file):
    app = prepared_page(open_page, picture_file, steps=2, noise=40, guidance=2.5)
    app.toggle(key="truth").set_value(True)
    app.text_input(key="latent-prompt").set_value("a *bridge*")
    app.text_input(key="latent-negative").set_value("grass")
    app.selectbox(key="latent-sampler-latent").set_value("dpm-solver")
    app.selectbox(key="latent-fix-latent").set_value("adain")
    app.number_input(key="seed").set_value(7)
    app.slider(key="samples-8").set_value(2).run()
    result = finish(start(app), JOB).session_state[RESULT]
    told = Conditioning(
        prompt="a *bridge*",
        negative_prompt="grass",
        guidance_scale=2.5,
        noise_level=40,
        color_fix="adain",
    )
    assert result.settings.told == told
    assert result.size == (16, 12)
    small = result.settings.picture[2]
    assert small == (4, 3)
    for row in ("Bicubic", "Latent diffusion, sample 1", "Latent diffusion, mean of 2"):
        assert f"| {row} |" in text(app)
    for words in (
        "DPM-Solver++ with 2 steps, seed 7, 2 samples",
        r"prompt “a \*bridge\*”, negative prompt “grass”",
        "guidance scale 2.5, noise level 40, colour fix AdaIN",
        "picture.png as the ground truth",
    ):
        assert words in text(app)
    assert loads == ["latent"]


def test_samples_are_those_of_the_upscaler(open_page, loads, tiny, picture_file):
    app = prepared_page(open_page, picture_file, noise=100)
    app.text_input(key="latent-prompt").set_value("a bridge").run()
    result = finish(start(app), JOB).session_state[RESULT]
    lr = image_of(picture_file(16, 12)).convert("RGB")
    again = tiny.upscale(
        lr, steps=1, seed=0, sampler="ddim", prompt="a bridge", noise_level=100
    ).image
    assert np.array_equal(np.asarray(image_of(result.samples[0])), np.asarray(again))
    finish(start(app), JOB)
    assert loads == ["latent"], "it is loaded once"


def test_the_result_survives_and_tells_what_it_belongs_to(open_page, loads, picture_file):
    app = finish(start(prepared_page(open_page, picture_file)), JOB)
    assert not app.info
    app.text_input(key="latent-prompt").set_value("a bridge").run()
    assert "changed settings" in app.info[0].value
    assert "no prompt" in text(app)
    app.text_input(key="latent-prompt").set_value(" ").run()
    assert not app.info


def test_a_negative_prompt_without_guidance_is_no_secret(open_page):
    app = open_page()
    app.text_input(key="latent-negative").set_value("grass").run()
    assert "only at a guidance scale above 1" in text(app)
    app.slider(key="latent-guidance-latent").set_value(1.5).run()
    assert "only at a guidance scale above 1" not in text(app)


def test_it_is_said_that_the_model_is_loading_and_that_can_be_cancelled(
    open_page, monkeypatch, tiny, picture_file
):
    begun, go_on = threading.Event(), threading.Event()

    def slow(name):
        begun.set()
        assert go_on.wait(PATIENCE)
        return tiny

    app = prepared_page(open_page, picture_file)
    monkeypatch.setattr(latent, "load", slow)
    job = start(app).session_state[JOB]
    assert begun.wait(PATIENCE)
    share, words = common.progress_of(job, 0)
    assert share == 0
    assert words.startswith("Loading the small model")
    button(app, "Cancel").click().run()
    go_on.set()
    finish(app, JOB)
    assert job.state == CANCELLED
    assert "The run was cancelled." in app.info[0].value
    assert not button(app, "Upscale").disabled


def test_a_run_stops_at_its_next_step(open_page, loads, monkeypatch, picture_file):
    begun = threading.Event()

    def endless(upscaler, settings, prepared, report):
        while True:
            report(Progress(1, 5, 2.0))
            begun.set()
            time.sleep(0.01)

    monkeypatch.setattr(latent, "run", endless)
    app = start(prepared_page(open_page, picture_file))
    job = app.session_state[JOB]
    assert begun.wait(PATIENCE)
    assert common.progress_of(job, 0) == (0.2, "Step 1 of 5, about 8 s left")
    button(app, "Cancel").click().run()
    assert job.wait(PATIENCE)
    assert job.state == CANCELLED


def test_three_visitors_are_served_in_order(open_page, loads, gate, queue, picture_file):
    apps = [start(prepared_page(open_page, picture_file, noise=number)) for number in range(3)]
    jobs = [app.session_state[JOB] for app in apps]
    assert [queue.ahead(job) for job in jobs] == [1, 2, 3]
    gate.set()
    for number, app in enumerate(apps):
        assert finish(app, JOB).session_state[RESULT].settings.told.noise_level == number
    assert loads == ["latent"]


def test_a_bad_file_has_a_message(open_page):
    app = upload(open_page(), "text.png", b"just some text")
    assert "text.png: the image is not an image" in app.error[0].value
    assert button(app, "Upscale").disabled


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (UpscalingError("its file is damaged"), "its file is damaged"),
        (ModuleNotFoundError("No module", name="diffusers"), "diffusers is not installed"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "not enough memory"),
        (OSError("/secret/place"), r"Something went wrong (OSError)"),
    ],
)
def test_a_model_that_cannot_be_loaded_has_a_message(
    open_page, monkeypatch, picture_file, error, message
):
    def fail(name):
        raise error

    app = prepared_page(open_page, picture_file)
    monkeypatch.setattr(latent, "load", fail)
    finish(start(app), JOB)
    assert message in app.error[0].value
    assert "secret" not in app.error[0].value


def test_a_gpu_is_used_when_there_is_one(monkeypatch, shelf):
    class Fake:
        def __init__(self):
            self.pipeline, self.device = self, "cpu"

        def to(self, device):
            self.device = device

    monkeypatch.setattr(latent, "load", lambda name: Fake())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Card 9")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (5 * 10**9, 8 * 10**9))
    assert shelf.get(None, print).device == "cuda"
    assert "GPU (Card 9)" in latent.small_needs(128)
    assert "5.0\u00a0GB" in latent.small_needs(128)


# published weights


def test_published_weights_are_never_looked_at_unasked(open_page, monkeypatch):
    monkeypatch.setattr(published, "plan", lambda *_, **__: pytest.fail("nobody has asked"))
    app = use_published(open_page())
    assert "Nothing is downloaded or loaded before you ask for it" in text(app)
    assert loading_button(app).disabled
    assert button(app, "Upscale").disabled
    assert not app.sidebar.slider, "their options are known when they are loaded"


def test_what_it_takes_is_said_before_the_download(open_page, monkeypatch):
    asked = []
    monkeypatch.setattr(
        published, "plan", lambda source, revision: asked.append((source, revision)) or PLAN
    )
    app = use_published(open_page(), " owner/name ")
    app.text_input(key="latent-revision").set_value("main").run()
    button(app, "Check").click().run()
    assert asked == [("owner/name", "main")]
    for words in ("3.5 GB", "6.0 GB are needed", "16.0 GB are free", "50.0 GB", "float32", "cpu"):
        assert words in app.info[0].value
    assert loading_button(app).label == "Load (downloads 3.5 GB)"
    assert not loading_button(app).disabled
    app.text_input(key="latent-source").set_value("owner/other").run()
    assert loading_button(app).disabled, "that was another one's plan"
    assert not app.info


def test_what_does_not_fit_cannot_be_loaded(open_page, monkeypatch):
    problems = ("up to 6.0 GB of memory are needed, but only 1.0 GB are free.",)
    monkeypatch.setattr(published, "plan", lambda *_, **__: replace(PLAN, problems=problems))
    app = use_published(open_page())
    button(app, "Check").click().run()
    assert "only 1.0 GB are free" in app.warning[0].value
    assert loading_button(app).disabled


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PublishedError("owner/name is gated: visit its page"), "is gated"),
        (PublishedError("the hub cannot be reached"), "cannot be reached"),
        (ConnectionError("Bearer secret"), "Something went wrong (ConnectionError)"),
        (ModuleNotFoundError("No", name="diffusers"), "diffusers is not installed"),
    ],
)
def test_what_cannot_be_had_has_a_message(open_page, monkeypatch, error, message):
    def fail(source, revision):
        raise error

    monkeypatch.setattr(published, "plan", fail)
    app = use_published(open_page())
    button(app, "Check").click().run()
    assert not app.exception
    assert message in app.error[0].value.replace("\\", "")
    assert "secret" not in app.error[0].value
    assert loading_button(app).disabled


def test_a_folder_is_checked_loaded_used_and_taken_out(
    open_page, monkeypatch, shelf, folder, picture_file
):
    monkeypatch.setattr(latent, "load", load)
    app = upload(use_published(open_page(), folder), "picture.png", picture_file(16, 12))
    button(app, "Check").click().run()
    assert loading_button(app).label == "Load (downloads nothing)"
    finish(start(app, "Load (downloads nothing)"), LOADING)
    assert "is in memory, and ready" in text(app)
    assert "Runs on the CPU in float32; the weights alone take" in text(app)

    key = str(folder)
    assert app.slider(key=f"latent-steps-{key}").value == 20
    assert app.slider(key=f"latent-noise-{key}").max == 350
    app.slider(key=f"latent-steps-{key}").set_value(1).run()
    result = finish(start(app), JOB).session_state[RESULT]
    assert (result.settings.model, result.settings.weights) == ("published", key)
    assert "Published weights" in text(app)
    assert folder.parent.name in text(app).replace("\\", "")

    latecomer = use_published(open_page(), folder)  # another visitor, for whom it is ready as well
    assert not button(latecomer, "Upscale").disabled
    finish(start(app, "Take it out of memory"), LOADING)
    assert shelf.published is None
    assert button(app, "Upscale").disabled
    assert app.header, "the result stays"
    start(latecomer)
    assert JOB not in latecomer.session_state, "the button has gone with the weights"
    assert button(latecomer, "Upscale").disabled


def test_new_weights_take_the_place_of_those_before(monkeypatch, shelf, tiny):
    there = []

    def fake(name, *, pretrained, revision, on_status):
        there.append(shelf.published)
        return tiny

    monkeypatch.setattr(latent, "load", fake)
    first, second = latent.Weights("owner/one"), latent.Weights("owner/two", "main")
    shelf.put(first, print)
    shelf.put(second, print)
    assert there == [None, None], "never two in memory"
    assert shelf.options(first) is None
    assert shelf.options(second) == latent.Options.of(tiny)
    with pytest.raises(UpscalingError, match="owner/one is no longer in memory"):
        shelf.get(first, print)  # as a run does that has waited meanwhile
    assert shelf.get(second, print) is tiny
    assert str(second) == "owner/two, revision main"


def test_loading_that_fails_has_a_message(open_page, monkeypatch, gate):
    def fail(name, *, pretrained, revision, on_status):
        on_status("Downloading 3.5 GB …")
        raise PublishedError("a file is missing")

    monkeypatch.setattr(published, "plan", lambda *_, **__: PLAN)
    monkeypatch.setattr(latent, "load", fail)
    app = use_published(open_page())
    button(app, "Check").click().run()
    job = start(app, "Load (downloads 3.5 GB)").session_state[LOADING]
    gate.set()
    finish(app, LOADING)
    assert (job.state, job.progress) == (FAILED, "Downloading 3.5 GB …")
    assert "a file is missing" in app.error[0].value
    assert not loading_button(app).disabled, "one may try again"


def test_loading_can_be_cancelled_before_it_begins(open_page, monkeypatch, gate):
    monkeypatch.setattr(published, "plan", lambda *_, **__: PLAN)
    app = use_published(open_page())
    button(app, "Check").click().run()
    start(app, "Load (downloads 3.5 GB)")
    button(app, "Cancel").click().run()
    assert "The loading was cancelled." in app.info[-1].value


def test_what_was_written_is_there_when_one_comes_back(open_page):
    app = open_page()
    app.text_input(key="latent-prompt").set_value("a bridge")
    app.slider(key="latent-steps-latent").set_value(3).run()
    use_published(app, "owner/other")
    app.selectbox(key="latent-kind").set_value(models.LATENT).run()
    assert app.text_input(key="latent-prompt").value == "a bridge"
    assert app.slider(key="latent-steps-latent").value == 3
    app.selectbox(key="latent-kind").set_value(models.PUBLISHED).run()
    assert app.text_input(key="latent-source").value == "owner/other"


def test_the_words_for_a_result_name_its_weights():
    settings = Settings((), "a.png", False, "published", weights="owner/name", told=Conditioning())
    assert in_words(settings).startswith("Published weights owner/name, no prompt, guidance scale")
