"""The files that Binder and GitHub read: that they parse, and agree with the project."""

import os
import re
from importlib.metadata import requires
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def load(path: Path) -> dict:
    """Read a workflow; YAML takes its key 'on' for the truth value."""
    workflow = yaml.safe_load(path.read_text())
    workflow["on"] = workflow.pop(True)
    return workflow


def steps(workflow: dict) -> list[dict]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def requirement_lines() -> list[str]:
    lines = (ROOT / "binder" / "requirements.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_the_workflows_are_there():
    assert [path.stem for path in WORKFLOWS] == ["pages", "test", "weekly"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_parse_and_ask_for_little(path):
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert "group" in workflow["concurrency"]
    for job in workflow["jobs"].values():
        assert job["runs-on"] == "ubuntu-latest"
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
        for needed in [job["needs"]] if "needs" in job else []:
            assert needed in workflow["jobs"]


def test_make_targets_and_scripts_that_workflows_run_exist():
    makefile = (ROOT / "Makefile").read_text()
    for path in WORKFLOWS:
        for step in steps(load(path)):
            for line in step.get("run", "").splitlines():
                words = line.split()
                if words[0] == "make":
                    for target in (word for word in words[1:] if "=" not in word):
                        assert re.search(rf"^{target}:", makefile, re.M), target
                if words[0] == "bash":
                    assert (ROOT / words[1]).is_file()


def test_pages_publishes_what_make_book_builds():
    workflow = load(ROOT / ".github" / "workflows" / "pages.yml")
    assert workflow["on"]["push"]["branches"] == ["main"]
    upload = next(s for s in steps(workflow) if "upload-pages" in s.get("uses", ""))
    assert upload["with"]["path"] == "_build/html"
    publish = workflow["jobs"]["publish"]
    assert publish["permissions"] == {"pages": "write", "id-token": "write"}


def test_weekly_takes_the_newest_and_reports_failures():
    workflow = load(ROOT / ".github" / "workflows" / "weekly.yml")
    assert "COURSE_REQUIRE_BROWSER=1 make CONSTRAINTS= book test" in [
        s.get("run") for s in steps(workflow)
    ]
    assert len(workflow["on"]["schedule"]) == 1
    report = workflow["jobs"]["report"]
    assert report["if"] == "failure()"
    assert report["permissions"] == {"issues": "write"}


def test_binder_installs_what_the_package_and_its_notebooks_need():
    needed = {
        re.match(r"[\w-]+", requirement)[0].lower()
        for requirement in requires("course_lib")
        if ";" not in requirement or 'extra == "notebook"' in requirement
    }
    listed = {line for line in requirement_lines() if not line.startswith("-")}
    assert listed == needed | {"jupyterlab"}


def test_binder_uses_the_constraints_and_cpu_builds():
    options = [line for line in requirement_lines() if line.startswith("-")]
    assert options[0] == "--extra-index-url https://download.pytorch.org/whl/cpu"
    assert options[1:] == ["-c ../constraints.txt"]
    assert (ROOT / "constraints.txt").is_file()
    assert (ROOT / "binder" / "runtime.txt").read_text() == "python-3.11\n"


def test_binder_installs_the_package_last_and_alone():
    script = ROOT / "binder" / "postBuild"
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/bin/bash\n")
    assert re.search(r"^pip install .*--no-deps \.$", script.read_text(), re.M)
