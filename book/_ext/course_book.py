"""The book's own Sphinx extension: small things that Jupyter Book does not do by itself."""

import hashlib
import importlib
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config

import course_lib
import launch

BOOK = Path(__file__).parents[1]
ROOT = BOOK.parent


def setup(app: Sphinx) -> dict[str, bool]:
    """Register what this extension does."""
    # Before myst-nb, which reads the cache's path at priority 500.
    app.connect("config-inited", key_cache_on_package, priority=100)
    app.connect("config-inited", use_local_mathjax, priority=100)
    app.connect("config-inited", use_own_assets, priority=100)
    app.connect("html-page-context", leave_thebe_out, priority=900)
    app.connect("build-finished", copy_mathjax)
    launch.setup(app)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def package_digest() -> str:
    """Return a digest of all that a chapter's outputs depend on besides its own code."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "course_lib").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(str(path.relative_to(ROOT)).encode())
            digest.update(path.read_bytes())
    releases = [f"{name} {version(name)}" for name in course_lib.notebook_requirements()]
    digest.update("\n".join([sys.version, *releases]).encode())
    return digest.hexdigest()[:16]


def key_cache_on_package(app: Sphinx, config: Config) -> None:
    """Keep executed chapters in a folder of their own for each state of the package.

    That state includes the releases of what it needs.

    Jupyter Book's cache looks at a chapter's code alone, so that a change in course_lib
    would leave stale outputs in the book. Folders of former states are removed.
    """
    caches = Path(app.outdir).parent / ".jupyter_cache"
    current = caches / package_digest()
    if caches.is_dir():
        for former in caches.iterdir():
            if former != current:
                shutil.rmtree(former) if former.is_dir() else former.unlink()
    config.nb_execution_cache_path = str(current)


def use_local_mathjax(app: Sphinx, config: Config) -> None:
    """Let pages load MathJax from the book itself, not from another host."""
    config.mathjax_path = "mathjax/tex-mml-chtml.js"


def use_own_assets(app: Sphinx, config: Config) -> None:
    """Add the book's stylesheet and scripts to every page."""
    config.html_static_path = [*config.html_static_path, str(BOOK / "assets")]
    app.add_css_file("course.css")
    app.add_js_file("explore.js", loading_method="defer")
    app.add_js_file("accessibility.js", loading_method="defer")


def leave_thebe_out(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Drop Thebe, which Jupyter Book always adds: it would come from another host.

    Its settings also stand twice on each page, which is an error in the console.
    """
    for kind in ("script_files", "css_files"):
        context[kind] = [file for file in context[kind] if not _is_thebe(file)]


def _is_thebe(file) -> bool:
    body = getattr(file, "attributes", {}).get("body", "")
    return "thebe" in str(getattr(file, "filename", file)).lower() or "THEBE" in body


def copy_mathjax(app: Sphinx, error: Exception | None) -> None:
    """Copy the parts of MathJax that pages use out of its Python package."""
    if error is not None or app.builder.format != "html":
        return
    package = Path(importlib.import_module("sphinx-mathjax-offline").__file__).parent
    origin, target = package / "static" / "mathjax", Path(app.outdir) / "_static" / "mathjax"
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy2(origin / "tex-mml-chtml.js", target)
    for part in ("output/chtml/fonts/woff-v2", "input/tex/extensions", "a11y", "sre"):
        shutil.copytree(origin / part, target / part, dirs_exist_ok=True)
