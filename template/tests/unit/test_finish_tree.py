"""An installed environment gets bytecode, safe modes and one fixed time."""

import marshal
import os
import stat

import pytest

from torchcrate.stages.install import finish_tree

SITE = "app/.venv/lib/python3.11/site-packages"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Return a finished tree."""
    site = tmp_path / "tree" / SITE
    (site / "it/tests/deep/__pycache__").mkdir(parents=True)
    for name, text in (
        ("it/__init__.py", "def it(): pass\n"),
        ("it/other.py", "match = print 'Python 2'\n"),
        ("it/tests/deep/test_it.py", ""),
        ("it/tests/deep/__pycache__/test_it.cpython-311.pyc", "of the wheel"),
        ("it/tests/helper.py", ""),
    ):
        (site / name).write_text(text)
    (site / "it/__init__.py").chmod(0o666)
    (site / "link").symlink_to("it")
    utime = os.utime

    def only_here(path, *arguments, **more):
        if str(path).startswith(str(tmp_path)):
            utime(path, *arguments, **more)

    monkeypatch.setattr(finish_tree.os, "utime", only_here)
    finish_tree.finish(tmp_path / "tree", tmp_path / "tree/app/.venv")
    return tmp_path / "tree"


def test_bytecode(tree):
    """It is checked by the source's hash and names the path in the image."""
    compiled = (tree / SITE / "it/__pycache__/__init__.cpython-311.pyc").read_bytes()
    assert compiled[4:8] == b"\x03\x00\x00\x00"
    assert marshal.loads(compiled[16:]).co_filename == f"/{SITE}/it/__init__.py"


def test_which_bytecode(tree):
    """None of tests, and none of files for another Python."""
    found = {path.name.partition(".")[0] for path in tree.rglob("*.pyc")}
    assert found == {"__init__", "helper"}


def test_modes_and_times(tree):
    for path in (tree, *tree.rglob("*")):
        found = path.lstat()
        assert found.st_mtime == finish_tree.TIME, path
        assert path.is_symlink() or not stat.S_IMODE(found.st_mode) & 0o022, path
