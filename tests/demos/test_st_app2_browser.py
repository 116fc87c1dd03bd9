"""The page on Stable Diffusion upscaling on a running server, in a real browser."""

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
from course_lib import data
from pictures import png

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


@pytest.fixture
def visit(browser: Browser, server: str) -> Iterator[Callable[..., Page]]:
    yield from visitors(browser, server, "latent")


@pytest.fixture(scope="session")
def photo() -> bytes:
    """A part of a photograph, 48 x 40 pixels."""
    return png(data.to_image(data.example("bridge")).crop((100, 100, 148, 140)))


def write(page: Page, field: str, text: str) -> None:
    page.get_by_role("textbox", name=field, exact=True).fill(text)


def choose_steps(page: Page, most: bool = False) -> None:
    """Choose the least number of steps, or the most."""
    slider = page.get_by_role("slider", name="Steps")
    slider.press("End" if most else "Home")
    expect(slider).to_have_value("100" if most else "1")


def open_sidebar(page: Page) -> None:
    page.get_by_test_id("stExpandSidebarButton").click()
    # It slides in, and a list that opens meanwhile is shut again.
    page.wait_for_function(
        "document.querySelector('[data-testid=stSidebar]').getBoundingClientRect().left >= 0"
    )
    page.get_by_test_id("stSidebarContent").hover()


def close_sidebar(page: Page) -> None:
    page.get_by_test_id("stSidebarCollapseButton").locator("button").click()


def test_a_photograph_becomes_larger(visit, photo):
    page = visit()
    expect(page.get_by_text("Runs on the")).to_be_visible()
    upload(page, "bridge.png", photo)
    choose_steps(page)
    write(page, "Prompt (optional)", "a bridge of stone")
    upscale(page)  # while the cursor is still in the field
    expect(page.get_by_text("prompt “a bridge of stone”")).to_be_visible()
    expect(page.locator("img.after")).to_have_attribute(
        "alt", "Enlarged by Latent diffusion: bridge.png"
    )
    result = Image.open(BytesIO(download(page, "Download as PNG")))
    assert (result.mode, result.size) == ("RGB", (192, 160))
    assert_accessible(page)
    assert page.problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_measured_on_a_phone(visit, photo, scheme):
    page = visit(viewport=PHONE, color_scheme=scheme)
    upload(page, "bridge.png", photo)
    page.get_by_text("Treat this picture").click()
    expect(page.get_by_text("only what is left of it at 12 × 10")).to_be_visible()
    open_sidebar(page)
    choose_steps(page)
    close_sidebar(page)
    page.get_by_text("Negative prompt").click()
    write(page, "What the picture does not show (optional)", "grass")
    upscale(page)
    expect(page.get_by_text("negative prompt “grass”")).to_be_visible()
    expect(page.get_by_role("cell", name="Latent diffusion")).to_be_visible()
    assert_fits(page)
    assert_accessible(page)
    assert page.problems == []


@pytest.mark.parametrize("viewport", [None, PHONE])
def test_published_weights_that_are_not_there(visit, viewport):
    page = visit(viewport=viewport)
    if viewport:
        open_sidebar(page)
    choose(page, "Published weights")
    if viewport:
        close_sidebar(page)
    expect(page.get_by_text("Nothing is downloaded or loaded before")).to_be_visible()
    expect(page.get_by_role("button", name="Upscale")).to_be_disabled()
    write(page, "Repository or folder", "/a/folder/that/is/not/there")
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_text("does not exist")).to_be_visible()
    expect(page.get_by_role("button", name="Load", exact=True)).to_be_disabled()
    assert_fits(page)
    assert_accessible(page)
    assert page.problems == []


def test_three_visitors_at_once(visit, photo):
    pages = [visit() for _ in range(3)]
    choose_steps(pages[0], most=True)
    for page in pages[1:]:
        upload(page, "bridge.png", photo)
        choose_steps(page)
    for ahead, page in enumerate(pages):
        page.get_by_role("button", name="Upscale").click()
        if ahead:
            runs = "1 run" if ahead == 1 else f"{ahead} runs"
            expect(page.get_by_text(f"Waiting: {runs} to go before yours")).to_be_visible()
        else:
            expect(page.get_by_text("of 100, about")).to_be_visible()
    pages[0].get_by_role("button", name="Cancel").click()
    expect(pages[0].get_by_text("The run was cancelled.")).to_be_visible()
    for page in pages[1:]:
        expect(page.get_by_role("heading", name="Result")).to_be_visible()
        assert page.problems == []
    expect(pages[0].get_by_role("heading", name="Result")).to_have_count(0)
