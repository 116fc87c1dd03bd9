"""The chapters' slides in a real browser: whole, quiet, and nothing cut off."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
SIZE = {"width": 1280, "height": 720}


def numbered_chapters() -> list[str]:
    """Return the names of the chapters that `_toc.yml` numbers, without their folders."""
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"]
    files = [entry["file"] for part in parts if part.get("numbered") for entry in part["chapters"]]
    return [Path(file).name for file in files]


@pytest.fixture(scope="module", params=numbered_chapters())
def opened(
    browser: Browser, site: str, request: pytest.FixtureRequest
) -> Iterator[tuple[Page, list[str]]]:
    """A chapter's deck, shown in its own size, and what went wrong on the way."""
    page, problems = browser.new_page(viewport=SIZE), []
    page.on("console", lambda m: m.type in ("error", "warning") and problems.append(m.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("requestfailed", lambda wanted: problems.append(f"failed: {wanted.url}"))
    page.on(
        "request",
        lambda wanted: (
            wanted.url.startswith((site, "data:", "blob:"))
            or problems.append(f"external: {wanted.url}")
        ),
    )
    page.on(
        "response",
        lambda response: response.status < 400 or problems.append(f"broken: {response.url}"),
    )
    page.goto(f"{site}/teaching/slides/{request.param}.html")
    page.wait_for_function("window.Reveal && Reveal.isReady()")
    yield page, problems
    page.close()


def test_deck_is_quiet_and_self_contained(opened: tuple[Page, list[str]]):
    page, problems = opened
    page.wait_for_load_state("networkidle")
    assert problems == []


def test_formulas_are_set(opened: tuple[Page, list[str]]):
    page, _ = opened
    assert page.locator("mjx-merror").count() == 0, "a formula does not parse"
    left = page.evaluate(
        r"""() => [...document.querySelectorAll(".slides .body, .slides h2")]
        .filter((part) => /\\[([]/.test(part.innerText)).map((part) => part.innerText)"""
    )
    assert left == []


def test_every_slide_fits(opened: tuple[Page, list[str]]):
    page, _ = opened
    slides = page.evaluate(
        """() => Reveal.getSlides().map((slide) => {
            const { h, v } = Reveal.getIndices(slide);
            Reveal.slide(h, v);
            const body = slide.querySelector(".body"), box = body.getBoundingClientRect();
            return {
                heading: `${h}/${v ?? 0} ${slide.querySelector("h1, h2").innerText}`,
                width: Math.max(slide.scrollWidth, box.right),
                height: Math.max(slide.scrollHeight, box.bottom),
                smallest: Math.min(...[...body.querySelectorAll("mjx-container"), body].map(
                    (part) => parseFloat(getComputedStyle(part).fontSize)
                        * (body.style.zoom || 1))),
            };
        })"""
    )
    assert len(slides) > 10
    cut = [s for s in slides if s["width"] > SIZE["width"] or s["height"] > SIZE["height"]]
    assert cut == []
    assert [slide for slide in slides if slide["smallest"] < 15] == [], "too small to read"


def test_every_picture_has_an_alternative_text(opened: tuple[Page, list[str]]):
    page, _ = opened
    pictures = page.evaluate(
        """() => [...document.querySelectorAll(".slides img, .slides svg")].map((picture) =>
            (picture.alt || picture.getAttribute("aria-label") || "").trim())"""
    )
    assert all(pictures)
