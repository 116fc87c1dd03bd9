"""The committed notebooks, as a reader runs them: the installed package, an empty folder."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LEFT_OUT = (".*", "_build", "build", "dist", "runs", "*.egg-info", "__pycache__")


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """Install the package from a wheel into a folder of its own, and return the folder.

    The wheel is built from a copy, so that the project's folder stays as it is.
    """
    folder = tmp_path_factory.mktemp("installed")
    shutil.copytree(ROOT, folder / "tree", ignore=shutil.ignore_patterns(*LEFT_OUT))

    def pip(*arguments: object) -> None:
        command = [sys.executable, "-m", "pip", *map(str, arguments), "--quiet", "--no-deps"]
        subprocess.run(command, check=True)

    pip("wheel", "--no-build-isolation", "--wheel-dir", folder, folder / "tree")
    (wheel,) = folder.glob("*.whl")
    pip("install", "--no-index", "--target", folder / "site", wheel)
    return folder / "site"


def test_the_notebooks_are_generated_from_the_chapters():
    command = [sys.executable, ROOT / "tools" / "notebooks.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_install_cell_never_touches_torch(path):
    install = nbformat.read(path, as_version=4).cells[1].source
    assert "pip" in install
    assert "torch" not in install


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_formulas_survive_jupyter_and_colab(path):
    """Both find formulas before they read the Markdown, and give up at an empty line."""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            prose = re.sub(r"^( *)```.*?^\1```", "", cell.source, flags=re.S | re.M)
            prose = re.sub(r"`[^`\n]+`", "", prose)
            assert prose.count("$$") % 2 == 0
            for formula in prose.split("$$")[1::2]:
                assert not re.search(r"\n\s*\n|\n\s*>", formula), formula
                assert formula.count("{") == formula.count("}"), formula
            assert not re.search(r"\{[\w:]+\}`|^:::|^\(\S+\)=$", cell.source, re.M)


def run(path: Path, site: Path, folder: Path) -> nbformat.NotebookNode:
    """Execute a notebook in a folder of its own; raise where a cell fails."""
    folder.mkdir()
    notebook = nbformat.read(path, as_version=4)
    where = nbformat.v4.new_code_cell("import course_lib\nprint(course_lib.__file__)")
    notebook.cells.insert(0, where)
    environment = os.environ | {
        "PYTHONPATH": str(site),
        "OMP_WAIT_POLICY": "PASSIVE",
        "OMP_NUM_THREADS": "1",  # as several run side by side
    }
    environment.pop("MPLBACKEND", None)  # the notebook's own, as for a reader
    client = NotebookClient(
        notebook,
        timeout=180,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env=environment)
    return notebook


@pytest.fixture(scope="module")
def executed(site, tmp_path_factory) -> Iterator[dict[Path, Future]]:
    """All notebooks, executed side by side on the processors that are there."""
    folder = tmp_path_factory.mktemp("notebooks")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {path: pool.submit(run, path, site, folder / path.stem) for path in NOTEBOOKS}
        pool.shutdown(cancel_futures=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs_anywhere(path, site, executed):
    notebook = executed[path].result()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code[0].outputs[0].text.strip() == str(site / "course_lib" / "__init__.py")
    assert len(code) > 2
    assert all(cell.execution_count for cell in code)
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
