"""The built pages in a real browser: whole, quiet, accessible, and alive without a kernel."""

import hashlib
import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

PHONE = {"width": 375, "height": 812}
MODEL_PAGES = ("autoencoder", "vae", "gan", "dcgan", "wgan", "ddpm", "comparison")
CHAPTERS = (
    "foundations/probability",
    "foundations/super-resolution",
    *(f"models/{name}" for name in MODEL_PAGES),
    "upscaling/one-task-four-models",
    "upscaling/srdiff",
    "upscaling/stable-diffusion",
    "upscaling/choosing",
)
SLIDER_PAGES = ("index", *CHAPTERS)


def open_page(page: Page, site: str, path: str) -> None:
    """Open a page and wait until its formulas are set."""
    page.goto(f"{site}/{path}")
    page.wait_for_load_state("networkidle")
    page.evaluate("() => window.MathJax?.startup?.promise")


def test_page_is_quiet_and_self_contained(page: Page, site: str, page_path: str):
    problems: list[str] = []
    page.on("console", lambda m: m.type in ("error", "warning") and problems.append(m.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("requestfailed", lambda request: problems.append(f"failed: {request.url}"))
    page.on(
        "request",
        lambda request: (
            request.url.startswith((site, "data:", "blob:"))
            or problems.append(f"external: {request.url}")
        ),
    )
    page.on(
        "response",
        lambda response: response.status < 400 or problems.append(f"broken: {response.url}"),
    )
    open_page(page, site, page_path)
    assert problems == []
    assert page.locator("mjx-merror").count() == 0, "a formula does not parse"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_page_is_accessible(page: Page, site: str, page_path: str, theme: str):
    page.add_init_script(
        f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}')"
    )
    open_page(page, site, page_path)
    found = Axe().run(page).response["violations"]
    summary = [
        f"{violation['id']}: {node['target']} {node['failureSummary']}"
        for violation in found
        for node in violation["nodes"]
    ]
    assert summary == []


def test_page_fits_a_phone(page: Page, site: str, page_path: str):
    page.set_viewport_size(PHONE)
    open_page(page, site, page_path)
    width = page.evaluate("document.scrollingElement.scrollWidth")
    assert width <= PHONE["width"]


def test_every_picture_has_an_alternative_text(page: Page, site: str, page_path: str):
    open_page(page, site, page_path)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll(
            '.bd-article img, .bd-article svg[role=img], canvas')]
        .filter((picture) => !(picture.alt || picture.getAttribute('aria-label') || '').trim()
            || /\\/[0-9a-f]{20,}/.test(picture.alt || ''))
        .map((picture) => picture.outerHTML.slice(0, 200))"""
    )
    assert nameless == []


@pytest.mark.parametrize("name", SLIDER_PAGES)
def test_sliders_move_the_picture(page: Page, site: str, name: str):
    open_page(page, site, f"{name}.html")
    explorers = page.locator(".cl-explore")
    assert explorers.count() >= 1
    for explorer in explorers.all():
        canvas = explorer.locator("canvas")
        expect(canvas).to_be_visible()
        for slider in explorer.locator("input[type=range]").all():
            seen = set()
            for key in ("Home", "End", "ArrowLeft"):
                slider.press(key)
                pixels = canvas.evaluate("canvas => canvas.toDataURL()")
                seen.add(hashlib.sha256(pixels.encode()).hexdigest())
            assert len(seen) >= 2, "the slider moves, but the picture does not"
            shown = slider.locator("xpath=preceding-sibling::span").inner_text()
            assert slider.get_attribute("aria-valuetext") == shown
            assert slider.evaluate("input => input.labels.length") == 1


def test_without_scripts_the_frames_are_shown(browser, site: str):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site}/models/vae.html")
    expect(page.locator(".cl-explore img").first).to_be_visible()
    expect(page.locator(".cl-controls").first).to_be_hidden()
    context.close()


def test_search_finds_a_term(page: Page, site: str):
    open_page(page, site, "search.html?q=reparameterisation")
    results = page.locator("#search-results li a")
    expect(results.first).to_be_visible()
    assert any("vae" in (link.get_attribute("href") or "") for link in results.all())


def test_figures_take_the_colour_of_the_text(page: Page, site: str):
    colours = {}
    for theme in ("light", "dark"):
        open_page(page, site, "models/vae.html")
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        colours[theme] = page.locator("svg.cl-figure").first.evaluate(
            "figure => getComputedStyle(figure).color"
        )
    light, dark = (sum(map(int, re.findall(r"\d+", colours[t])[:3])) for t in ("light", "dark"))
    assert light < 200 < 500 < dark


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_chapter_offers_its_notebook(page: Page, site: str, chapter: str):
    name = chapter.rsplit("/", 1)[1]
    open_page(page, site, f"{chapter}.html")
    links = page.locator("a").evaluate_all("links => links.map(link => link.href)")
    assert any("colab" in link and link.endswith(f"/notebooks/{name}.ipynb") for link in links)
    assert any("mybinder" in link and f"notebooks/{name}.ipynb" in link for link in links)
