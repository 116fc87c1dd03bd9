"""The package as a whole: what it imports, which way the arrows point, what it ships."""

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import course_lib

PACKAGE = Path(course_lib.__file__).parent
ROOT = Path(__file__).parents[1]
MODULES = sorted(PACKAGE.rglob("*.py"))


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def loaded_after(environment) -> dict[str, set[str]]:
    """The modules that are loaded after each import, in one fresh process."""
    script = """
import json, sys, importlib
found = {}
for name in sys.argv[1:]:
    importlib.import_module(name)
    found[name] = sorted({module.split(".")[0] for module in sys.modules})
print(json.dumps(found))
"""
    names = [
        "course_lib",
        "course_lib.cli",
        "course_lib.models",
        "course_lib.data",
        "course_lib.upscaling",
        "course_lib.weights",
        "course_lib.show",
        "course_lib.widgets",
        "course_lib.training",
    ]
    finished = subprocess.run(
        [sys.executable, "-c", script, *names],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return {name: set(modules) for name, modules in json.loads(finished.stdout).items()}


HEAVY = {
    "diffusers",
    "transformers",
    "streamlit",
    "ipywidgets",
    "IPython",
    "matplotlib",
    "torchvision",
    "onnx",
    "onnxruntime",
    "scipy",
}


def test_nothing_heavy_is_loaded_before_it_is_needed(loaded_after):
    for name, modules in loaded_after.items():
        assert not modules & HEAVY, name


def test_importing_the_package_costs_nothing(loaded_after):
    for name in ("course_lib", "course_lib.cli"):
        assert not loaded_after[name] & {"torch", "numpy", "accelerate", "PIL"}, name


def test_models_need_torch_alone(loaded_after):
    assert not loaded_after["course_lib.models"] & {"accelerate", "PIL", "safetensors"}


def test_upscaling_loads_weights_only_when_they_are_asked_for(loaded_after):
    assert not loaded_after["course_lib.upscaling"] & {"accelerate", "safetensors"}


# The arrows of the design


FORBIDDEN = {
    "diffusion": {
        "models",
        "metrics",
        "data",
        "upscaling",
        "training",
        "show",
        "widgets",
        "cli",
        "weights",
    },
    "metrics": {"training", "show", "widgets", "cli"},
    "models": {"metrics", "upscaling", "training", "show", "widgets", "cli", "weights"},
    "data": {"models", "upscaling", "training", "weights", "show", "widgets", "cli"},
    "upscaling": {"training", "show", "widgets", "cli", "cli_upscaling", "bench"},
    "weights": {"training", "show", "widgets", "cli", "data", "metrics"},
    "training": {"show", "widgets", "cli"},
    "show": {"training", "widgets", "cli", "models", "data"},
    "widgets": {"training", "cli", "models", "data", "weights"},
}
OUTSIDE = {
    "streamlit",
    "ipywidgets",
    "matplotlib",
    "IPython",
}  # for all that computes


def imports_of(path: Path) -> tuple[set[str], set[str]]:
    """Return (parts of course_lib, outside packages) that a module imports anywhere."""
    inside: set[str] = set()
    outside: set[str] = set()
    package = ("course_lib", *path.relative_to(PACKAGE).parts[:-1])

    def note(dotted: tuple[str, ...], names: list[str]) -> None:
        if dotted[0] != "course_lib":
            outside.add(dotted[0])
        elif len(dotted) > 1:
            inside.add(dotted[1])
        else:
            inside.update(names)

    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                note(tuple(alias.name.split(".")), [])
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
            tail = tuple((node.module or "").split(".")) if node.module else ()
            base = package[: len(package) - node.level + 1] if node.level else ()
            note((*base, *tail), names)
    return inside, outside


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_arrows_point_one_way(path):
    inside, outside = imports_of(path)
    part = part_of(path)
    assert not inside & FORBIDDEN.get(part, set())
    if part in ("models", "data", "weights", "training", "diffusion", "metrics", "upscaling"):
        assert not outside & OUTSIDE


def test_the_imports_are_really_seen():
    """The judge above must not be blind."""
    assert imports_of(PACKAGE / "training" / "recipes.py")[0] >= {"data", "weights", "models"}
    assert imports_of(PACKAGE / "widgets.py")[0] == {"show"}
    assert imports_of(PACKAGE / "upscaling" / "upscalers.py")[0] >= {"data", "models", "weights"}
    assert "ipywidgets" in imports_of(PACKAGE / "widgets.py")[1]
    assert imports_of(PACKAGE / "models" / "vae.py")[0] == {"models", "noise"}


# Metadata and files


def test_version_and_address_are_those_of_the_project_file():
    about = project()["project"]
    assert course_lib.__version__ == about["version"]
    assert course_lib.repository() == about["urls"]["Repository"]


def test_every_package_and_data_file_is_shipped():
    settings = project()["tool"]["setuptools"]
    found = {
        ".".join(("course_lib", *path.parent.relative_to(PACKAGE).parts))
        for path in PACKAGE.rglob("__init__.py")
    }
    assert set(settings["packages"]) == found
    patterns = settings["package-data"]
    for path in PACKAGE.rglob("*"):
        if path.is_file() and path.suffix not in (".py", ".pyc", ".tmp"):
            home = next(parent for parent in path.parents if (parent / "__init__.py").exists())
            package = ".".join(("course_lib", *home.relative_to(PACKAGE).parts))
            inside = path.relative_to(home)
            assert any(
                inside.match(pattern) and len(inside.parts) == len(Path(pattern).parts)
                for pattern in patterns[package]
            ), path


SKIPPED = {
    ".git",
    ".venv",
    "_build",
    "notebooks",
    "runs",
    "dist",
    "build",
    "node_modules",
    "__pycache__",
    ".pytest_cache",
    ".hypothesis",
    ".ruff_cache",
    ".ipynb_checkpoints",
}


def source_files() -> list[Path]:
    """All files of the project, without what is generated or installed."""
    files, folders = [], [ROOT]
    while folders:
        for path in folders.pop().iterdir():
            if path.is_dir():
                if path.name not in SKIPPED and not path.name.endswith(".egg-info"):
                    folders.append(path)
            else:
                files.append(path)
    return files


def test_the_address_is_stated_in_one_place():
    """A fork changes one line."""
    address = project()["project"]["urls"]["Repository"].removeprefix("https://").encode()
    holders = [path.relative_to(ROOT) for path in source_files() if address in path.read_bytes()]
    assert holders == [Path("pyproject.toml")]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_everything_public_is_documented(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "the module"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_listed_is_missing(path):
    """Every name in ``__all__`` exists."""
    import importlib

    dotted = ".".join(("course_lib", *path.relative_to(PACKAGE).with_suffix("").parts))
    module = importlib.import_module(dotted.removesuffix(".__init__"))
    for name in getattr(module, "__all__", ()):
        assert hasattr(module, name), name
