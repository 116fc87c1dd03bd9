"""The book's own Sphinx extension: the execution cache follows the package."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

EXTENSION = Path(__file__).parents[2] / "book" / "_ext"


@pytest.fixture
def course_book(monkeypatch, tmp_path):
    """The extension, made to look at a small package in a temporary folder."""
    monkeypatch.syspath_prepend(str(EXTENSION))
    import course_book

    (tmp_path / "course_lib").mkdir()
    (tmp_path / "course_lib" / "code.py").write_text("x = 1\n")
    monkeypatch.setattr(course_book, "ROOT", tmp_path)
    yield course_book
    sys.modules.pop("course_book")


def key(course_book, tmp_path) -> Path:
    app = SimpleNamespace(outdir=tmp_path / "_build" / "html")
    config = SimpleNamespace()
    course_book.key_cache_on_package(app, config)
    return Path(config.nb_execution_cache_path)


def test_cache_is_kept_while_the_package_stays(course_book, tmp_path):
    cache = key(course_book, tmp_path)
    cache.mkdir(parents=True)
    (cache / "global.db").write_text("outputs")
    assert key(course_book, tmp_path) == cache
    assert (cache / "global.db").exists()


@pytest.mark.parametrize("change", ["edit", "add", "rename"])
def test_any_change_of_the_package_starts_a_new_cache(course_book, tmp_path, change):
    cache = key(course_book, tmp_path)
    cache.mkdir(parents=True)
    code = tmp_path / "course_lib" / "code.py"
    if change == "edit":
        code.write_text("x = 2\n")
    elif change == "add":
        (code.parent / "weights.json").write_text("{}")
    else:
        code.rename(code.with_name("other.py"))
    assert key(course_book, tmp_path) != cache
    assert not cache.exists(), "outputs of a former state would only take up space"


def test_compiled_files_do_not_count(course_book, tmp_path):
    before = key(course_book, tmp_path)
    compiled = tmp_path / "course_lib" / "__pycache__"
    compiled.mkdir()
    (compiled / "code.pyc").write_bytes(b"0")
    assert key(course_book, tmp_path) == before
