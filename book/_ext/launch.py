"""Launch and download buttons that lead to the generated notebooks.

The theme points Colab, Binder and the download button at a chapter's own file, or at its
executed copy, in which directives are raw text. Colab cannot open MyST at all. So after the
theme has made its buttons, those of a page that has a notebook in `notebooks/` are pointed
there, and those of any other page are taken away. The project's address is the package's
(`[project.urls]` in `pyproject.toml`), so that `_config.yml` need not repeat it.
"""

import shutil
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

import course_lib
from course_lib import BRANCH

LAUNCHERS = {
    "Binder": "https://mybinder.org/v2/gh/{project}/{branch}?urlpath=lab/tree/notebooks/{name}.ipynb",
    "Colab": "https://colab.research.google.com/github/{project}/blob/{branch}/notebooks/{name}.ipynb",
}


def setup(app: Sphinx) -> None:
    """Register the handlers of this module."""
    # The theme copies its options when the builder starts, which is later.
    app.connect("config-inited", set_repository)
    # The theme makes its buttons at priority 501.
    app.connect("html-page-context", point_buttons_at_notebook, priority=900)


def set_repository(app: Sphinx, config: Config) -> None:
    """Tell the theme where the project lives."""
    config.html_theme_options = {
        **config.html_theme_options,
        "repository_url": course_lib.repository(),
        "repository_branch": BRANCH,
    }


def project() -> str:
    """Return the project's name on GitHub, OWNER/REPOSITORY."""
    return "/".join(course_lib.repository().rstrip("/").split("/")[-2:])


def notebook_of(app: Sphinx, pagename: str) -> Path | None:
    """Return the notebook generated from a page, or None where there is none."""
    path = Path(app.srcdir).parent / "notebooks" / f"{pagename.split('/')[-1]}.ipynb"
    executable = "kernelspec" in app.env.metadata.get(pagename, {})
    return path if executable and path.is_file() else None


def point_buttons_at_notebook(
    app: Sphinx,
    pagename: str,
    templatename: str,
    context: dict[str, Any],
    doctree: nodes.document | None,
) -> None:
    """Mend the launch and download buttons of one page."""
    notebook = notebook_of(app, pagename)
    download = Path(app.outdir, "_sources", f"{pagename}.ipynb")
    if notebook:
        # Over the executed copy that the theme has put there.
        download.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(notebook, download)
    else:
        download.unlink(missing_ok=True)
    kept = []
    for button in context.get("header_buttons", []):
        if button.get("label") == "launch-buttons":
            if not notebook:
                continue
            for launcher in button["buttons"]:
                launcher["url"] = LAUNCHERS[launcher["text"]].format(
                    project=project(), branch=BRANCH, name=notebook.stem
                )
        elif button.get("label") == "download-buttons" and not notebook:
            button["buttons"] = [
                choice
                for choice in button["buttons"]
                if choice.get("label") != "download-notebook-button"
            ]
        kept.append(button)
    context["header_buttons"] = kept
