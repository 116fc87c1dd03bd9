"""The demonstrations' first page, driven as a visitor would."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

PAGE = Path(__file__).parents[2] / "demos" / "home.py"


@pytest.fixture(scope="module")
def page() -> AppTest:
    return AppTest.from_file(str(PAGE), default_timeout=60).run()


def test_page_opens_with_pictures(page):
    assert not page.exception
    assert page.title[0].value == "Pictures from noise"
    assert page.get("imgs") or page.get("image")


def test_every_listed_model_can_be_chosen(page):
    names = page.selectbox[0].options
    assert len(names) >= 2
    for option in names:
        page.selectbox[0].select(option).run()
        assert not page.exception


def test_caption_follows_the_seed(page):
    page.number_input[0].set_value(7).run()
    assert not page.exception
    assert "seed 7" in str(page.get("imgs")[0].proto if page.get("imgs") else page)
