"""`make lock-check` is silent while all agree, and names each disagreement with what mends it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import build

TOP = Path(__file__).resolve().parents[3]
GPU = build.default_gpu_build()
NAMES = ("pyproject.toml", "poetry.lock", "locks", "Dockerfile", "Dockerfile.cpu", "Makefile")
NAMES += ("image.mk", "docker-bake.hcl", ".github", "scripts", "docker", "examples")


@pytest.fixture
def project(tmp_path):
    """Return a copy of what is checked."""
    for name in NAMES:
        if (TOP / name).is_dir():
            shutil.copytree(TOP / name, tmp_path / name)
        elif (TOP / name).exists():
            shutil.copy(TOP / name, tmp_path)
    return tmp_path


# The check without Poetry's own, which takes seconds, where both of its files are the repository's:
# test_they_agree has asked it of those.
CHECK = """
import pathlib, runpy, sys
import split_locks
top, project = map(pathlib.Path, sys.argv[1:])
files = ("pyproject.toml", "poetry.lock")
if all((top / name).read_bytes() == (project / name).read_bytes() for name in files):
    split_locks.poetry_check = lambda folder: None
sys.path.insert(0, str(project / "scripts"))
runpy.run_path(str(project / "scripts/lock_check.py"), run_name="__main__")
"""


def check(project, *code):
    """Return the exit code of the check and what it prints."""
    tools = TOP / ".tools" / "poetry" / "bin"
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHONPATH": str(project / "docker" / "locks"),
    }
    done = subprocess.run(
        [tools / "python", *(code or ("-c", CHECK, TOP, project))],
        env=environment,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def test_they_agree(project):
    code, said = check(project, project / "scripts" / "lock_check.py")
    assert (code, re.sub(r"the locks of .* agree", "", said)) == (
        0,
        "pyproject.toml, poetry.lock and .\n",
    )


# What is edited: file, pattern, new text; and what must be said.
EDITS = {
    "a dependency without lock": (
        *(
            "pyproject.toml",
            r"^name = ",
            'dynamic = ["readme"]\noptional-dependencies = { more = ["einops"] }\nname = ',
        ),
        "poetry.lock is out of date with pyproject.toml: run `make lock`",
    ),
    "another version in a torch lock": (
        *(f"locks/torch.{GPU}.txt", r"^torch===[^ ]+", "torch===0.1.0"),
        f"locks/torch.{GPU}.txt has torch 0.1.0 where poetry.lock has ",
    ),
    "a lock that is no TOML": ("poetry.lock", r"\A", "]", "poetry.lock cannot be read ("),
    "a Python that the image has not": (
        *("pyproject.toml", r'^requires-python = ".*"', 'requires-python = ">=3.12"'),
        "pyproject.toml has requires-python >=3.12, and the image Python 3.11",
    ),
    "a Dockerfile.cpu of its own": (
        *("Dockerfile.cpu", r"\Z", "RUN true\n"),
        "Dockerfile.cpu is not what Dockerfile makes it: run `make",
    ),
    "another build in the bake file": (
        *("docker-bake.hcl", r'(?<=^variable "TORCH_BUILD" { default = ").*(?=")', "cu999"),
        f"TORCH_BUILD is {GPU} in Dockerfile and cu999 in docker-bake.hcl",
    ),
    "an argument that there is not": (
        *("docker-bake.hcl", r"^    VERSION  ", "    NOTHING = 1\n    VERSION  "),
        "docker-bake.hcl sets NOTHING, which Dockerfile has no ARG for",
    ),
    "a build without lock": (
        *("Dockerfile", r"^ARG TORCH_BUILD=.*$", "ARG TORCH_BUILD=cu999"),
        "Dockerfile builds cu999, which has no lock: run `make",
    ),
    "another Python in the workflow": (
        *(".github/workflows/ci.yml", r'python-version: "3.11"', 'python-version: "3.12"'),
        " sets up Python 3.12, and the image has 3.11: change it.",
    ),
    "a workflow that builds what has no lock": (
        *(".github/workflows/weekly.yml", r"make test$", "make test BUILD=cu999"),
        " builds cu999, which has no lock: run `make lock BUILD=cu999`.",
    ),
    "a matrix with a build that has no lock": (
        *(".github/workflows/ci.yml", rf"build: {GPU}", "build: cu999"),
        " builds cu999, which has no lock: run `make lock BUILD=cu999`.",
    ),
    "an address with a password": (
        *("pyproject.toml", r"^dependencies = \[", 'dependencies = ["a @ git+https://t@x.org/a",'),
        "An address at x.org in pyproject.toml or poetry.lock holds a user or a password",
    ),
    "a path of one machine": (
        *("pyproject.toml", r"^dependencies = \[", 'dependencies = ["mine @ file:///x/mine",'),
        "pyproject.toml names mine by a path of one machine: move it to packages/mine, then run",
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_they_disagree(project, edit):
    pattern, old, new, says = EDITS[edit]
    (file,) = project.glob(pattern)
    text, count = re.subn(old, new, file.read_text(), count=1, flags=re.MULTILINE)
    assert count, f"{file} has no {old}"
    file.write_text(text)
    code, said = check(project)
    assert code == 1
    assert says in said
    assert "Traceback" not in said
    assert all(line.startswith("ERROR: ") for line in said.splitlines()), said
