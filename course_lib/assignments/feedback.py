"""A page of feedback for each student: the points, what the checks said, and the notebook.

Hidden tests stay hidden: of a test cell a student sees the visible part and the message.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from nbconvert import HTMLExporter
from nbformat import NotebookNode, v4
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

from ..files import replace_atomically
from .markdown import to_html
from .masters import Assignment

if TYPE_CHECKING:
    from .grading import Result

TEMPLATES = Path(__file__).parent / "templates"
HIDDEN = re.compile(r"### BEGIN HIDDEN TESTS.*?### END HIDDEN TESTS", re.S)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def write_feedback(
    path: Path, assignment: Assignment, result: "Result", notebook: NotebookNode | None
) -> None:
    """Write a student's page; without a notebook it holds the points and the reason alone.

    The cell that installs the package is left out.
    """
    settings = Config()
    settings.HTMLExporter.template_name = "course-feedback"
    settings.HTMLExporter.filters = {"to_html": to_html}
    settings.HTMLExporter.extra_template_basedirs = [str(TEMPLATES)]
    cells = [presented(cell, result) for cell in notebook.cells[1:]] if notebook else []
    shown = v4.new_notebook(cells=cells)
    text, _ = HTMLExporter(config=settings).from_notebook_node(
        shown,
        resources={
            "metadata": {"name": path.stem},
            "feedback": {
                "title": assignment.title,
                "result": result,
                "points": assignment.points,
                "said": said(notebook) if notebook else {},
                "code_style": HtmlFormatter().get_style_defs(".highlight"),
            },
        },
    )
    replace_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))


def presented(cell: NotebookNode, result: "Result") -> NotebookNode:
    """Return a cell as a student may see it, with its score in ``metadata.feedback``."""
    cell = NotebookNode(cell.copy())
    name = cell.metadata.get("nbgrader", {}).get("grade_id")
    cell.metadata = {"feedback": {"name": name, "score": result.scores.get(name)}}
    cell.source = HIDDEN.sub("# more tests follow here, with other numbers", cell.source)
    if cell.cell_type == "code":
        graded = name in result.scores
        cell.outputs = [shortened(output, graded) for output in cell.outputs]
    return cell


def shortened(output: NotebookNode, graded: bool) -> NotebookNode:
    """Return an output without what a traceback tells of hidden tests, and without colours."""
    if output.output_type != "error":
        return output
    lines = [f"{output.ename}: {output.evalue}"] if graded else output.traceback
    text = COLOUR.sub("", "\n".join(lines or [output.evalue]))
    return v4.new_output("stream", name="stderr", text=text)


def said(notebook: NotebookNode) -> dict[str, str]:
    """Return for each test that failed what it said, in a line."""
    found = {}
    for cell in notebook.cells:
        about = cell.metadata.get("nbgrader", {})
        errors = [o for o in cell.get("outputs", []) if o.output_type == "error"]
        if errors and about.get("grade"):
            printed = "".join(o.text for o in cell.outputs if o.output_type == "stream")
            wrong = re.findall(r"^✗ \S+: (.+)$", printed, re.M)
            found[about["grade_id"]] = wrong[-1] if wrong else f"{errors[0].evalue}".split("\n")[0]
    return found
