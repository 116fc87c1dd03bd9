"""The page on super-resolution on a running server, in a real browser."""

import re
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from browsing import (
    PHONE,
    assert_accessible,
    assert_fits,
    choose,
    download,
    upload,
    upscale,
    visitors,
)

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


@pytest.fixture
def visit(browser: Browser, server: str) -> Iterator[Callable[..., Page]]:
    yield from visitors(browser, server, "srdiff")


def test_transparent_picture_goes_in_and_comes_out_larger(visit, picture_file):
    page = visit()
    choose(page, "Regression")
    upload(page, "leaf.png", picture_file(24, 16, alpha=True))
    expect(page.get_by_text("transparency kept")).to_be_visible()
    upscale(page)
    result = Image.open(BytesIO(download(page, "Download as PNG")))
    assert (result.mode, result.size) == ("RGBA", (96, 64))
    assert_accessible(page)
    assert page.problems == []


def test_divider_and_zoom_by_keyboard(visit, picture_file):
    page = visit()
    choose(page, "Regression")
    upload(page, "icon.png", picture_file(16, 16))
    upscale(page)
    divider, after = page.get_by_role("slider", name="Divider"), page.locator("img.after")
    expect(after).to_have_attribute("alt", "Enlarged by Regression: icon.png")
    for key, value in (("Home", 0), ("End", 100), ("ArrowLeft", 99)):
        divider.press(key)
        assert divider.input_value() == str(value)
        cut = float(re.search(r"([\d.]+)px\)$", after.evaluate("i => i.style.clipPath"))[1])
        assert cut == pytest.approx(value / 100 * after.evaluate("i => i.clientWidth"), abs=1)
    assert divider.get_attribute("aria-valuetext") == "99 % Bicubic, 1 % Regression"
    for zoom in (1, 2, 4):
        button = page.get_by_role("button", name=f"{zoom}×")
        button.press("Enter")
        expect(button).to_have_attribute("aria-pressed", "true")
        assert after.evaluate("i => i.clientWidth") == 64 * zoom


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_samples_on_a_phone(visit, picture_file, scheme):
    page = visit(viewport=PHONE, color_scheme=scheme)
    upload(page, "icon.png", picture_file(16, 16))
    page.get_by_text("Treat this picture").click()
    expect(page.get_by_text("only what is left of it at 4 × 4")).to_be_visible()
    page.get_by_test_id("stExpandSidebarButton").click()
    with page.socket.expect_event("framesent"):  # the slider tells the server after a pause
        page.get_by_role("slider", name="Samples").press("ArrowRight")
    page.get_by_test_id("stSidebarCollapseButton").locator("button").click()
    upscale(page)
    expect(page.get_by_role("heading", name="Where the samples differ")).to_be_visible()
    expect(page.get_by_role("cell", name="SRDiff, mean of 2")).to_be_visible()
    packed = zipfile.ZipFile(BytesIO(download(page, "Download all 2 as a zip")))
    assert packed.namelist() == ["icon-srdiff-seed0.png", "icon-srdiff-seed1.png"]
    assert_fits(page)
    assert_accessible(page)
    assert page.problems == []


def test_photograph_of_12_megapixels(visit, photograph):
    page = visit(viewport=PHONE)
    upload(page, "photo.jpg", photograph)
    expect(page.get_by_text("3000 × 4000 pixels; turned as the camera says")).to_be_visible()
    expect(page.get_by_text("a part of 256 × 256 pixels, framed")).to_be_visible()
    page.get_by_text("the whole, made smaller").click()
    expect(page.get_by_text("made smaller to 192 × 256 pixels")).to_be_visible()
    assert_fits(page)


def test_text_that_is_called_a_picture(visit):
    page = visit()
    upload(page, "text.png", b"no picture at all")
    expect(page.get_by_text("text.png: the image is not an image")).to_be_visible()
    expect(page.get_by_role("button", name="Upscale")).to_be_disabled()
    assert page.locator("[data-testid=stException]").count() == 0
    assert_accessible(page)


def one_runs_and_one_has_chosen(visit, picture_file) -> tuple[Page, Page]:
    first, second = visit(), visit()
    first.get_by_role("button", name="Upscale").click()
    expect(first.get_by_role("button", name="Cancel")).to_be_enabled()
    choose(second, "Regression")
    upload(second, "icon.png", picture_file(16, 16))
    return first, second


def test_two_visitors_and_one_who_cancels(visit, picture_file):
    first, second = one_runs_and_one_has_chosen(visit, picture_file)
    expect(second.get_by_role("button", name="Upscale")).to_be_enabled()
    second.get_by_role("button", name="Upscale").click()
    expect(second.get_by_text("Waiting: 1 run to go before yours")).to_be_visible()
    first.get_by_role("button", name="Cancel").click()
    expect(first.get_by_text("The run was cancelled.")).to_be_visible()
    expect(second.get_by_role("heading", name="Result")).to_be_visible()
    expect(first.get_by_role("heading", name="Result")).to_have_count(0)


def test_a_visitor_who_leaves_makes_room(visit, picture_file):
    first, second = one_runs_and_one_has_chosen(visit, picture_file)
    first.close()
    upscale(second)
