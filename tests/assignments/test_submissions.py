"""Finding and reading what students hand in, however it comes."""

import json
import os
import zipfile
from pathlib import Path

import nbformat
import pytest

from course_lib.assignments import submissions
from course_lib.assignments.errors import AssignmentError


@pytest.fixture
def notebook() -> str:
    return nbformat.writes(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x = 1")]))


def put(path: Path, text: str = "{}") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("file", "student"),
    [
        ("ada/vae/vae.ipynb", "ada"),
        ("ada/deeply/nested/notebook.ipynb", "ada"),
        ("Ada Lovelace_12345_assignsubmission_file_/vae.ipynb", "Ada Lovelace_12345"),
        ("ada.ipynb", "ada"),
        ("ada_vae.ipynb", "ada"),
        ("vae-ada.ipynb", "ada"),
        ("lovelaceada_1234_56789_vae.ipynb", "lovelaceada"),
        ("lovelaceada_LATE_1234_56789_vae-2.ipynb", "lovelaceada"),
        ("ada@example.org.ipynb", "ada@example.org"),
        ("Žofie Nováková.ipynb", "Žofie Nováková"),
        ("a<b>&c.ipynb", "a-b-c"),
    ],
)
def test_students_are_named_by_folder_or_file(tmp_path, file, student):
    put(tmp_path / file)
    (found,) = submissions.collect(tmp_path, "vae")
    assert (found.student, found.path, found.problem) == (student, tmp_path / file, None)


def test_the_named_notebook_goes_before_others(tmp_path):
    put(tmp_path / "ada" / "vae.ipynb")
    put(tmp_path / "ada" / "scratch.ipynb")
    put(tmp_path / "ada" / ".ipynb_checkpoints" / "vae.ipynb")
    (found,) = submissions.collect(tmp_path, "vae")
    assert found.path == tmp_path / "ada" / "vae.ipynb"
    assert found.notice is None


def test_of_two_the_newer_is_taken_and_said(tmp_path):
    for age, name in enumerate(("new", "old")):
        put(tmp_path / "ada" / f"{name}.ipynb")
        os.utime(tmp_path / "ada" / f"{name}.ipynb", (1e9 - age, 1e9 - age))
    (found,) = submissions.collect(tmp_path, "vae")
    assert found.path.name == "new.ipynb"
    assert found.notice == "2 notebooks were handed in; the newest, new.ipynb, is graded"


def test_no_notebook_is_a_problem_of_the_student_and_not_of_the_class(tmp_path):
    put(tmp_path / "ada" / "answers.pdf")
    (tmp_path / "ben").mkdir()
    put(tmp_path / "carl.ipynb")
    put(tmp_path / ".DS_Store")
    put(tmp_path / "__MACOSX" / "carl.ipynb")
    ada, ben, carl = submissions.collect(tmp_path, "vae")
    assert ada.problem == "no notebook was handed in, but answers.pdf"
    assert ben.problem == "no notebook was handed in, but nothing"
    assert carl.problem is None


def test_an_empty_folder_is_said(tmp_path):
    with pytest.raises(AssignmentError, match="no submissions in"):
        submissions.collect(tmp_path, "vae")


def test_a_zip_is_unpacked_and_cannot_reach_outside(tmp_path, notebook):
    archive = tmp_path / "class.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("ada/vae.ipynb", notebook)
        packed.writestr("../outside.ipynb", notebook)
    with submissions.opened(archive) as folder:
        assert [s.student for s in submissions.collect(folder, "vae")] == ["ada", "outside"]
    assert not (tmp_path / "outside.ipynb").exists()
    assert not (tmp_path.parent / "outside.ipynb").exists()


def test_a_huge_or_broken_zip_is_refused(tmp_path, notebook, monkeypatch):
    archive = tmp_path / "class.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("ada/vae.ipynb", notebook)
    monkeypatch.setattr(submissions, "LARGEST_ARCHIVE", 10)
    with (
        pytest.raises(AssignmentError, match="holds more than"),
        submissions.opened(archive),
    ):
        pass
    archive.write_bytes(b"PK broken")
    with (
        pytest.raises(AssignmentError, match="neither a folder nor a zip"),
        submissions.opened(archive),
    ):
        pass


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ('{"cells": [', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "no notebook that can be read"),
        ('"text"', "no notebook that can be read"),
        ('{"nbformat": 4, "nbformat_minor": 5}', "no notebook that can be read"),
        ('{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [7]}', "can be read"),
        ('{"nbformat": 99, "nbformat_minor": 0, "metadata": {}, "cells": []}', "can be read"),
    ],
)
def test_a_broken_notebook_is_told_why(tmp_path, text, message):
    path = tmp_path / "ada.ipynb"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        submissions.read(path)


def test_a_notebook_in_no_known_encoding_or_too_large_is_told_why(tmp_path, monkeypatch):
    path = tmp_path / "ada.ipynb"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not JSON"):
        submissions.read(path)
    monkeypatch.setattr(submissions, "LARGEST_NOTEBOOK", 2)
    with pytest.raises(ValueError, match="more than"):
        submissions.read(path)


def test_an_old_or_careless_notebook_is_read(tmp_path, notebook):
    """Sources as lists, no ids, outputs of any kind: only sources and metadata are kept."""
    content = json.loads(notebook)
    content["nbformat_minor"] = 2
    (cell,) = content["cells"]
    del cell["id"]
    cell["source"] = ["x = 1\n", "y = 2"]
    cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["lots"]}]
    path = tmp_path / "ada.ipynb"
    path.write_text(json.dumps(content))
    (read,) = submissions.read(path).cells
    assert (read.source, read.outputs) == ("x = 1\ny = 2", [])
