"""Commands that a git hook starts work on their own repository, not on the hook's."""

import os
import shutil
import sys

import pytest

from template.tests import existing
from template.tests.projects import ANSWERS, copy_template, git, run, share_tools, snapshot
from torchcrate.host import TOP

pytestmark = pytest.mark.template


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return copy_template(tmp_path_factory.mktemp("template") / "it")


@pytest.fixture
def hook(tmp_path, monkeypatch):
    """Return a repository, and set the environment of one of its hooks."""
    folder = tmp_path / "hook"
    existing.write(folder, {"a": "1"})
    (folder / "staged").touch()
    git(folder, "add", "staged")
    before = snapshot(folder)
    names = {
        **{"GIT_DIR": folder / ".git", "GIT_INDEX_FILE": folder / ".git/index"},
        **{"GIT_WORK_TREE": folder, "GIT_OBJECT_DIRECTORY": folder / ".git/objects"},
        **{"GIT_COMMON_DIR": folder / ".git", "GIT_PREFIX": "", "GIT_CONFIG_COUNT": "1"},
        **{"GIT_CONFIG_KEY_0": "core.worktree", "GIT_CONFIG_VALUE_0": folder},
    }
    environment = {**os.environ, **{name: str(value) for name, value in names.items()}}
    yield environment
    assert snapshot(folder) == before


def crate(folder, environment, *words):
    done = run(folder, sys.executable, "crate", *words, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


def test_init_adopt_and_update(template, tmp_path, hook):
    given = [f"--{name}={ANSWERS[name]}" for name in ("name", "package", "author")]
    here, into = tmp_path / "here", tmp_path / "into"
    shutil.copytree(template, here, symlinks=True)
    crate(here, hook, "init", *given)
    assert (here / ".template.toml").is_file()
    crate(template, hook, "init", f"--into={into}", *given)
    assert git(into, "ls-files", ".template.toml")
    share_tools(into)
    existing.commit(into)
    crate(template, hook, "update", f"--into={into}")
    project = existing.write(tmp_path / "project", existing.LAYOUTS["flat"])
    crate(template, hook, "adopt", f"--into={project}", "--build=cu130")
    assert (project / "Dockerfile").is_file()


def test_what_it_starts_itself(hook):
    """Poetry and uv, which clone dependencies, and pre-commit do not see it either."""
    environment = hook | {"GIT_SSL_CAINFO": "/ca", "GIT_SSH_COMMAND": "ssh -v"}
    code = "import subprocess, torchcrate.cli; subprocess.run(['env'], check=True)"
    done = run(TOP, sys.executable, "-c", code, env=environment)
    found = {line.partition("=")[0] for line in done.stdout.splitlines()}
    found = {name for name in found if name.startswith("GIT_")}
    kept = {name for name in environment if name.startswith("GIT_CONFIG_") and "0" not in name}
    kept -= {"GIT_CONFIG_COUNT"}
    assert found == {"GIT_SSL_CAINFO", "GIT_SSH_COMMAND"} | kept, done.stderr
