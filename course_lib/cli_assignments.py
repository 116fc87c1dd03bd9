"""``course-lib assignments``: what instructors hand out, collect and grade."""

from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from .cli_common import Problem, err, out, say

app = typer.Typer(
    name="assignments",
    help="Hand out, grade and report the assignments (needs the extra 'assignments').",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="An assignment's name; 'list' shows them.")]
Masters = Annotated[
    Path | None,
    typer.Option("--masters", help="The folder with the masters; by default, the clone's."),
]
Grades = Annotated[
    Path, typer.Option("--out", "-o", help="The folder for the class's scores and feedback.")
]


def found(folder: Path | None) -> dict:
    """Return the assignments by name, from the given folder or from this clone's."""
    try:
        from .assignments.masters import find
    except ModuleNotFoundError as error:
        raise Problem(f"{error.name} is missing: pip install 'course_lib[assignments]'") from error
    return find(folder or Path(__file__).parents[1] / "exercises")


def chosen(name: str, folder: Path | None):
    """Return one assignment. Raises :class:`Problem` for an unknown name."""
    known = found(folder)
    if name not in known:
        raise Problem(f"there is no assignment {name!r}; known: {', '.join(known)}")
    return known[name]


def narrow_table(*headings: str) -> Table:
    """Return a table that folds words, rather than cut them, where the terminal is narrow."""
    table = Table(box=SIMPLE, padding=0)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


@app.command("list")
def list_(masters: Masters = None) -> None:
    """Show the assignments: their chapters, points, and the minutes that a student needs."""
    table = narrow_table("name", "assignment", "chapter", "tasks", "points", "by hand", "minutes")
    for name, each in found(masters).items():
        manual = sum(part.points for part in each.parts if part.manual)
        numbers = (len(each.parts), each.points, manual, each.minutes)
        table.add_row(name, each.title, each.chapter, *map(str, numbers))
    out.print(table)


@app.command()
def release(
    name: Name,
    folder: Annotated[Path, typer.Option("--out", "-o", help="Where to write.")] = Path("out"),
    masters: Masters = None,
) -> None:
    """Write what students get: a notebook without solutions and hidden tests, and its zip."""
    assignment = chosen(name, masters)
    from .assignments.handout import write_handout

    for path in write_handout(assignment, folder):
        say(out, f"written: {path}")


@app.command()
def verify(name: Name, masters: Masters = None) -> None:
    """Hold a master to its promises: solution, stub, other right answers and wrong ones."""
    assignment = chosen(name, masters)
    from .assignments.trial import complaints, read_answers

    found = complaints(assignment)
    if found:
        raise Problem("\n".join(found))
    right, wrong = (len(read_answers(assignment, kind)) for kind in ("right", "wrong"))
    say(
        out,
        f"{name}: the solution and {right} other right answers earn all points that tests give, "
        f"the stub none, and each of {wrong} wrong answers loses what it should",
    )


@app.command()
def grade(
    source: Annotated[Path, typer.Argument(help="A folder or zip with submissions.")],
    name: Annotated[str, typer.Option("--assignment", "-a", help="Which assignment they are.")],
    folder: Grades = Path("grades"),
    seed: Annotated[
        int | None, typer.Option(min=0, help="The class's seed; by default, a secret one is kept.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="For one cell.")] = 30.0,
    total: Annotated[float, typer.Option(min=5, help="Seconds for one notebook.")] = 300.0,
    memory: Annotated[float, typer.Option(min=1, help="Gigabytes for one notebook.")] = 4.0,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Notebooks at a time.")] = 1,
    masters: Masters = None,
) -> None:
    """Grade all submissions for an assignment, each in a sandbox, and write the report.

    A folder may hold a folder for each student or files named after them; a zip may be what
    an LMS gives. Grading again replaces what was there but points given by hand.
    """
    assignment = chosen(name, masters)
    if not source.exists():
        raise Problem(f"there is no {source}")
    from .assignments import grading, sandbox, submissions

    folder.mkdir(parents=True, exist_ok=True)
    isolation = sandbox.isolate([assignment.path.parent, source, folder])
    say(out, f"sandbox: {isolation.describe()}")
    limits = sandbox.Limits(cell_seconds=seconds, seconds=total, gigabytes=memory)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with submissions.opened(source) as place, Progress(*columns, console=err) as progress:
        handed_in = submissions.collect(place, name)
        task = progress.add_task(f"grading {name}", total=len(handed_in))

        def on_done(result: grading.Result) -> None:
            progress.advance(task)
            if result.reason:
                say(progress.console, f"{result.student}: {result.reason}")

        results = grading.grade(
            assignment,
            handed_in,
            folder,
            seed=grading.class_seed(folder, seed),
            limits=limits,
            isolation=isolation,
            jobs=jobs,
            on_done=on_done,
        )
    written(assignment, results, folder)


@app.command()
def report(name: Name, folder: Grades = Path("grades"), masters: Masters = None) -> None:
    """Take over the points given by hand in by-hand.csv, and write the report again."""
    assignment = chosen(name, masters)
    from .assignments import grading, report
    from .assignments.gradebook import Book

    place = folder / name
    if not (folder / "gradebook.db").is_file() or not place.is_dir():
        raise Problem(f"{folder} holds no graded {name}: run 'course-lib assignments grade' first")
    filled = place / "by-hand.csv"
    if filled.is_file():
        book = Book(folder / "gradebook.db", name)
        say(out, f"points given by hand: {report.read_sheet(filled, assignment, book)}")
    written(assignment, grading.again(assignment, folder), folder)


@app.command()
def gradescope(
    name: Name,
    folder: Annotated[Path, typer.Option("--out", "-o", help="Where to write.")] = Path("out"),
    seed: Annotated[
        int | None, typer.Option(min=0, help="The class's seed; by default, a new secret one.")
    ] = None,
    masters: Masters = None,
) -> None:
    """Write a zip for Gradescope's autograder. It holds the solutions: keep it to yourself."""
    assignment = chosen(name, masters)
    import secrets

    from .assignments.gradescope import write_zip

    seed = secrets.randbelow(2**32) if seed is None else seed
    say(out, f"written: {write_zip(assignment, folder, seed=seed)}")


def written(assignment, results: list, folder: Path) -> None:
    """Write a class's files, and show its scores."""
    from .assignments import grading, report

    place = folder / assignment.name
    files = {
        "scores.csv": report.scores_csv(assignment, results),
        "by-hand.csv": report.sheet(assignment, results),
        "answers.html": report.answers_page(
            assignment, results, grading.kept_notebooks(assignment, folder)
        ),
    }
    for name, text in files.items():
        if text is not None:
            report.write(place / name, text)
    parts = (part.name.removesuffix("-test") for part in assignment.parts)
    table = narrow_table("student", "points", *parts, "remarks")
    for result in results:
        points = [result.scores[part.name].points for part in assignment.parts]
        table.add_row(
            result.student,
            f"{result.points:g}",
            *("…" if each is None else f"{each:g}" for each in points),
            "; ".join(filter(None, [result.reason, *result.notices])),
        )
    largest = [f"{part.points}" for part in assignment.parts]
    table.add_section()
    table.add_row("largest", f"{assignment.points}", *largest, "")
    out.print(table)
    seconds = sum(result.seconds for result in results)
    if seconds:
        say(out, f"{len(results)} notebooks, {seconds / len(results):.1f} s each")
    for name, text in files.items():
        if text is not None:
            say(out, f"written: {place / name}")
    say(out, f"written: {place / 'feedback'}, a page for each student")
