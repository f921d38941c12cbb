"""The project's own metadata and commands, as if it were installed."""

import importlib.metadata
import subprocess
import sys
import tomllib

import pytest

from torchcrate.stages.locks import dist_info

PROJECT = """
[project]
name = "My.Project"
version = "1.0.0-alpha1"
description = '''Says
hello.'''
dependencies = ["numpy"]
[project.scripts]
hello = "hello_there:main"
other = "hello_there: Class.other [color]"
[project.entry-points."some.plugins"]
one = "hello_there"
"""
CODE = """
def main(): print("hello")
class Class:
    @staticmethod
    def other(): return 7
"""


def distribution(text, venv):
    """Write a project's metadata and return what Python finds."""
    dist_info.write(tomllib.loads(text), venv, sys.executable)
    found = importlib.metadata.distributions(path=[str(venv / "lib/python3.11/site-packages")])
    return next(iter(found), None)


def test_metadata(tmp_path):
    it = distribution(PROJECT, tmp_path)
    assert (it.name, it.version, it.metadata["Summary"]) == ("My.Project", "1.0.0a1", "Says hello.")
    assert {(point.group, point.name) for point in it.entry_points} == {
        *(("console_scripts", name) for name in ("hello", "other")),
        ("some.plugins", "one"),
    }
    assert not it.requires  # another dependency does not change it
    for file in it.files:
        assert file.locate().is_file(), file
        assert file.hash is None or file.hash.mode == "sha256"


def test_commands(tmp_path):
    it = distribution(PROJECT, tmp_path)
    code = tmp_path / "code"
    code.mkdir()
    (code / "hello_there.py").write_text(CODE)
    for command, expected in (("hello", (0, "hello\n")), ("other", (7, ""))):
        environment = {"PYTHONPATH": str(code)}
        done = subprocess.run(
            [tmp_path / "bin" / command], env=environment, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == expected, done.stderr
    assert it.entry_points["one"].value == "hello_there"


def test_link_into_a_cache(tmp_path):
    """uv links files from its cache: what they link to does not change."""
    (tmp_path / "cached").write_text("theirs")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/hello").hardlink_to(tmp_path / "cached")
    distribution(PROJECT, tmp_path)
    assert "import main" in (tmp_path / "bin/hello").read_text()
    assert (tmp_path / "cached").read_text() == "theirs"


def test_poetrys_own_tables(tmp_path):
    text = """
    [tool.poetry]
    name = "old"
    version = "2.0"
    [tool.poetry.scripts]
    one = "old:main"
    two = { reference = "old:two", type = "console" }
    three = { reference = "bin/three.sh", type = "file" }
    [tool.poetry.plugins."a.group"]
    four = "old:four"
    """
    it = distribution(text, tmp_path)
    assert (it.name, it.version) == ("old", "2.0")
    assert [point.name for point in it.entry_points.select(group="console_scripts")] == [
        "one",
        "two",
    ]
    assert {path.name for path in (tmp_path / "bin").iterdir()} == {"one", "two"}


def test_version_of_poetry(tmp_path):
    """With `dynamic`, the version is in Poetry's own table."""
    text = """
    [project]
    name = "a"
    dynamic = ["version"]
    [tool.poetry]
    version = "3.1"
    """
    assert distribution(text, tmp_path).version == "3.1"


@pytest.mark.parametrize(
    "text",
    ["[tool.poetry]\npackage-mode = false\n", "[project]\nname = 'a'\ndynamic = ['version']\n"],
    ids=["no package", "no version"],
)
def test_no_metadata(tmp_path, text):
    assert distribution(text, tmp_path) is None


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("hello", "hello"),
        ("a/b", "a:b"),
        ("python3", "a:b"),
        ("x", "a:b; import os"),
        ("..", "a:b"),
    ],
)
def test_no_command(tmp_path, name, reference):
    text = f'[project]\nname = "a"\nversion = "1"\n[project.scripts]\n"{name}" = "{reference}"\n'
    with pytest.raises(SystemExit, match="is not as in `train ="):
        distribution(text, tmp_path)
    assert not list(tmp_path.iterdir())
