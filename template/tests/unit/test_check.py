"""`./crate check` is silent if all files agree. It names each disagreement and its remedy."""

import re
import shutil
import subprocess

import pytest

from torchcrate import build
from torchcrate import check as checks
from torchcrate.host import TOP
from torchcrate.tools import environment

GPU = build.default_gpu_build()
NAMES = ("pyproject.toml", "poetry.lock", "locks", "Dockerfile", "Dockerfile.cpu")
NAMES += ("docker-bake.hcl", ".github", ".devcontainer", "template/examples")


@pytest.fixture
def project(tmp_path):
    """Return a copy of what is checked."""
    for name in NAMES:
        if (TOP / name).is_dir():
            shutil.copytree(TOP / name, tmp_path / name)
        elif (TOP / name).exists():
            shutil.copy(TOP / name, tmp_path)
    return tmp_path


# Without Poetry's own check, which takes seconds, unless it is asked for.
CHECK = """
import pathlib, sys
from torchcrate import check
if not sys.argv[2:]:
    check.poetry_check = lambda folder: None
print("\\n".join(check.check(pathlib.Path(sys.argv[1]))))
"""


def check(*arguments):
    """Return what the check says of a project, in Poetry's environment."""
    command = [TOP / ".tools/poetry/bin/python", "-c", CHECK, *arguments]
    done = subprocess.run(command, cwd=TOP, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_they_agree(project):
    assert check(project, "and Poetry") == ""


@pytest.mark.parametrize("name", ["Dockerfile", "docker-bake.hcl", "pyproject.toml"])
def test_missing_file(project, name):
    (project / name).unlink()
    said = check(project)
    assert re.search(rf"^\S*{name} cannot be read \(.*No such file", said, re.MULTILINE), said


# What is edited: file, pattern, new text; and what must be said.
EDITS = {
    "a dependency without lock": (
        *(
            "pyproject.toml",
            r"^name = ",
            'dynamic = ["readme"]\noptional-dependencies = { more = ["einops"] }\nname = ',
        ),
        "poetry.lock is out of date with pyproject.toml: run `./crate lock`",
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
        "Dockerfile.cpu is not what it is made from says: run `./crate check --write`",
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
        "Dockerfile builds cu999, which has no lock: run `./crate",
    ),
    "a workflow that builds what has no lock": (
        *(".github/workflows/weekly.yml", r"./crate test$", "./crate test --build cu999"),
        " builds cu999, which has no lock: run `./crate lock --build cu999`.",
    ),
    "a matrix with a build that has no lock": (
        *(".github/workflows/images.yml", rf"build: {GPU}", "build: cu999"),
        " builds cu999, which has no lock: run `./crate lock --build cu999`.",
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
    # test_they_agree has asked Poetry of both files as they are.
    more = ["and Poetry"] if pattern in ("pyproject.toml", "poetry.lock") else []
    assert says in check(project, *more)


PACKAGES = """
[[package]]
name = "Torch_Scatter"
version = "2.1.2"
groups = ["main"]
files = [{ file = "torch_scatter-2.1.2.tar.gz", hash = "sha256:0" }]

[[package]]
name = "made"
version = "1"
groups = ["main"]
files = [{ file = "made-1-py3-none-any.whl", hash = "sha256:0" }]
[package.dependencies]
torch = "*"

[[package]]
name = "mine"
version = "1"
groups = ["main"]
files = []
[package.dependencies]
torch = "*"
[package.source]
type = "directory"
url = "packages/mine"
"""
GROUP = '[dependency-groups]\ntorch-extensions = ["torch-scatter"]\n'


@pytest.mark.parametrize("pyproject, named", [("", True), (GROUP, False)], ids=["main", "group"])
def test_notes(tmp_path, pyproject, named):
    """A package without a wheel, which belongs to torch, may have to be compiled against it."""
    (tmp_path / "poetry.lock").write_text(PACKAGES)
    (tmp_path / "pyproject.toml").write_text(pyproject)
    found = list(checks.notes(tmp_path))
    assert [re.search("Note: (.+) has no wheel", note)[1] for note in found] == (
        ["torch-scatter"] if named else []
    )
