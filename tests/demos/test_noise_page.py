"""The page with pictures from noise, driven as a visitor would."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from course_lib import weights

MODELS = ("dcgan", "ddpm", "gan", "vae", "vae-2d", "wgan", "wgan-gp")
PAGE = Path(__file__).parents[2] / "demos" / "noise.py"


@pytest.fixture
def app() -> AppTest:
    return AppTest.from_file(str(PAGE), default_timeout=60).run()


def caption(app: AppTest) -> str:
    assert not app.exception
    return app.caption[0].value


def test_page_opens_with_pictures(app):
    assert app.title[0].value == "Pictures from noise"
    assert len(app.get("image")) == 1
    assert caption(app).startswith("36 pictures")


def test_only_models_that_draw_are_offered(app):
    assert app.selectbox[0].options == [weights.card(name)["summary"] for name in MODELS]


def test_every_model_draws(app):
    app.slider[0].set_value(4)
    for name in MODELS:
        assert f"'{name}'" in caption(app.selectbox[0].set_value(name).run())


def test_number_and_seed_are_obeyed(app):
    app.slider[0].set_value(9)
    app.number_input[0].set_value(7)
    assert caption(app.run()) == "9 pictures drawn by the model 'dcgan' from seed 7"
