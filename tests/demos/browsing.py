"""What a visitor does and sees, on a page in a real browser."""

from collections.abc import Callable, Iterator
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

PATIENCE = 240_000  # milliseconds, on a machine that is busy with other things
expect.set_options(timeout=PATIENCE)
PHONE = {"width": 375, "height": 812}
# Streamlit's own: its field for files is a labelled section with the role 'presentation'.
FOREIGN = {"presentation-role-conflict": "stFileUploaderDropzone"}


def visitors(browser: Browser, server: str, address: str) -> Iterator[Callable[..., Page]]:
    """Yield what opens a page as a visitor of its own, and close all pages in the end.

    Its options are those of the browser's context. ``page.problems`` collects errors and
    requests to others.
    """
    contexts = []

    def visit(**options) -> Page:
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE)
        page.problems = []
        page.on("websocket", lambda socket: setattr(page, "socket", socket))
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on(
            "request",
            lambda request: (
                request.url.startswith((server, server.replace("http", "ws"), "data:", "blob:"))
                or page.problems.append(f"external: {request.url}")
            ),
        )
        page.goto(f"{server}/{address}")
        expect(page.get_by_role("button", name="Upscale")).to_be_enabled()
        return page

    yield visit
    for context in contexts:
        context.close()


def choose(page: Page, model: str) -> None:
    page.get_by_role("combobox", name="Model").click()
    page.get_by_role("option", name=model, exact=True).click()


def upload(page: Page, name: str, content: bytes) -> None:
    page.get_by_text("Your own").click()
    kind = "image/jpeg" if name.endswith("jpg") else "image/png"
    page.locator("input[type=file]").set_input_files(
        {"name": name, "mimeType": kind, "buffer": content}
    )


def upscale(page: Page) -> None:
    button = page.get_by_role("button", name="Upscale")
    expect(button).to_be_enabled()
    button.click()
    expect(page.get_by_role("heading", name="Result")).to_be_visible()
    expect(page.get_by_role("slider", name="Divider")).to_be_visible()


def download(page: Page, label: str) -> bytes:
    with page.expect_download() as started:
        page.get_by_role("button", name=label).click()
    return Path(started.value.path()).read_bytes()


def assert_fits(page: Page) -> None:
    for box in ("document.scrollingElement", "document.querySelector('[data-testid=stMain]')"):
        assert page.evaluate(f"{box}.scrollWidth <= {box}.clientWidth"), box


def settle(page: Page) -> None:
    """Wait until nothing is faded any more, as is what a run of the script has not reached."""
    page.wait_for_function(
        """() => document.querySelector("[data-testid=stApp]").dataset.testScriptState ===
                 "notRunning"
            && !document.querySelector("[data-stale=true]")
            && !document.getAnimations().some(each => each instanceof CSSTransition)"""
    )


def assert_accessible(page: Page) -> None:
    settle(page)
    ours = [
        f"{violation['id']}: {node['target']} {node['failureSummary']}"
        for violation in Axe().run(page).response["violations"]
        for node in violation["nodes"]
        if FOREIGN.get(violation["id"], "of ours") not in node["html"]
    ]
    assert ours == [], "\n".join(ours)
