"""The built book on a local server, and a real browser to look at it."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[2] / "_build" / "html"


def built_pages() -> list[str]:
    """Return the addresses of all pages of the built book, relative to its root.

    The slides, which are no pages to scroll, have tests of their own.
    """
    pages = (path.relative_to(PAGES) for path in PAGES.rglob("*.html"))
    return sorted(
        str(page)
        for page in pages
        if page.parts[0] not in ("_static", "_sources") and "slides" not in page.parts
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "page_path" in metafunc.fixturenames:
        metafunc.parametrize("page_path", built_pages() or [None])


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def site(skip_or_fail) -> Iterator[str]:
    """The address of a server of the built book."""
    if not (PAGES / "index.html").exists():
        skip_or_fail("the book is not built: run `make book` first")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(PAGES)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
