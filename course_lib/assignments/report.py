"""Scores of a class: CSV for an LMS, and the sheet and page for what a person grades.

``scores.csv`` has a row for each student, ``by-hand.csv`` one for each answer that a person
grades, to be filled in and read again, and ``answers.html`` shows these answers.
"""

import csv
import html
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from nbformat import NotebookNode

from ..files import replace_atomically
from .errors import AssignmentError
from .gradebook import Book, MissingEntry
from .grading import Result
from .markdown import to_html
from .masters import Assignment, Part

SHEET = ("student", "part", "points", "of", "comment")
# A spreadsheet would take a cell that begins with one of these for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def scores_csv(assignment: Assignment, results: Iterable[Result]) -> str:
    """Return the scores as CSV: student, points, percent, what is open, reasons, parts."""
    rows = []
    for result in results:
        parts = {
            part.name: "" if (points := result.scores[part.name].points) is None else f"{points:g}"
            for part in assignment.parts
        }
        said = "; ".join(filter(None, [result.reason, *result.notices]))
        rows.append(
            {
                "student": harmless(result.student),
                "points": f"{result.points:g}",
                "of": assignment.points,
                "percent": f"{100 * result.points / assignment.points:.1f}",
                "to grade by hand": " ".join(result.waiting),
                "remarks": harmless(said),
            }
            | parts
        )
    return as_csv(rows)


def as_csv(rows: list[Mapping]) -> str:
    """Return rows with the same keys as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def harmless(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def write(path: Path, text: str) -> None:
    """Write a text to a file, as a whole or not at all."""
    replace_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))


def sheet(assignment: Assignment, results: Iterable[Result]) -> str | None:
    """Return the sheet for what a person grades, with what was filled in already.

    What a machine could decide, an answer that is not there, is not in it. Returns None
    where nothing is to be graded by hand.
    """
    rows = []
    for result in results:
        for part in by_hand(assignment):
            score = result.scores[part.name]
            if score.points == 0 and score.comment == "No response.":
                continue
            if result.reason and score.points == 0 and not score.comment:
                continue
            points = "" if score.points is None else f"{score.points:g}"
            row = (result.student, part.name, points, part.points, score.comment or "")
            rows.append(dict(zip(SHEET, row, strict=True)))
    return as_csv(rows) if rows else None


def by_hand(assignment: Assignment) -> list[Part]:
    """Return the parts that a person grades."""
    return [part for part in assignment.parts if part.manual]


def read_sheet(path: Path, assignment: Assignment, book: Book) -> int:
    """Take over the points of a filled-in sheet; return how many.

    Raises :class:`AssignmentError`, naming the line, for points that are no number or too
    many, and for an unknown student or part; nothing is then taken over.
    """
    largest = {part.name: part.points for part in by_hand(assignment)}
    taken = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if not set(SHEET) <= set(reader.fieldnames or ()):
            raise AssignmentError(f"{path}: its first line must name {', '.join(SHEET)}")
        for number, row in enumerate(reader, start=2):
            if not (row["points"] or "").strip():
                continue
            where = f"{path}, line {number}"
            try:
                points = float(row["points"].replace(",", "."))
            except ValueError as error:
                raise AssignmentError(f"{where}: {row['points']!r} is no number") from error
            if row["part"] not in largest:
                raise AssignmentError(f"{where}: no part {row['part']!r} is graded by hand")
            if not 0 <= points <= largest[row["part"]]:
                raise AssignmentError(
                    f"{where}: {points:g} points of {largest[row['part']]} cannot be given"
                )
            try:
                book.scores(row["student"])
            except MissingEntry as error:
                raise AssignmentError(f"{where}: no student {row['student']!r}") from error
            taken.append((row["student"], row["part"], points, row["comment"] or ""))
    for each in taken:
        book.save_by_hand(*each)
    return len(taken)


def answers_page(
    assignment: Assignment, results: Iterable[Result], notebooks: Mapping[str, NotebookNode]
) -> str:
    """Return a page with every answer that a person grades, one part after another.

    The model answer stands first. What students wrote is cleaned of scripts.
    """
    from .handout import instructors_notebook

    master = {
        cell.metadata.nbgrader.grade_id: cell
        for cell in instructors_notebook(assignment, seed=0).cells
    }
    blocks = []
    for part in by_hand(assignment):
        blocks.append(f"<h2>{html.escape(part.name)} ({part.points} points)</h2>")
        model = master[part.name].source.replace("### BEGIN SOLUTION", "")
        blocks.append(shown("model answer", model.replace("### END SOLUTION", "")))
        for result in results:
            answer = next(
                (
                    cell.source
                    for cell in getattr(notebooks.get(result.student), "cells", ())
                    if cell.metadata.get("nbgrader", {}).get("grade_id") == part.name
                ),
                None,
            )
            if answer and result.scores[part.name].comment != "No response.":
                blocks.append(shown(result.student, answer))
    return PAGE.format(title=html.escape(assignment.title), body="\n".join(blocks))


def shown(name: str, markdown: str) -> str:
    """Return an answer under its author's name."""
    return f"<section><h3>{html.escape(name)}</h3>{to_html(markdown)}</section>"


PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: answers to grade</title>
<style>
body {{ font: 16px/1.55 system-ui, sans-serif; max-width: 52rem; margin: 0 auto; padding: 1rem;
       overflow-wrap: anywhere; }}
section {{ overflow-x: auto; border-left: 4px solid #3b6ea8; padding-left: .8rem;
          margin: 1.5rem 0; }}
</style></head>
<body><h1>{title}: answers to grade</h1>
{body}
</body></html>
"""
