"""Commands that a git hook starts work on their own repository, not on the hook's."""

import os
import shutil
import subprocess

import pytest

import existing
import host
import init
from template import ANSWERS, TOP, copy_template, git, share_tools, snapshot

pytestmark = pytest.mark.template


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return copy_template(tmp_path_factory.mktemp("template") / "it")


@pytest.fixture
def hook(tmp_path, monkeypatch):
    """Return a repository, and have the environment be that of a hook of it."""
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


def run(folder, environment, *words):
    for lock in (folder / "poetry.lock", *(folder / "locks").glob("*.txt")):
        os.utime(lock, (0, 0))  # never newer than .tools
    done = subprocess.run(
        ["make", *words], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_init_adopt_and_update(template, tmp_path, hook):
    given = [f"{name}={ANSWERS[name]}" for name in ("NAME", "PACKAGE", "AUTHOR")]
    here, into = tmp_path / "here", tmp_path / "into"
    shutil.copytree(template, here, symlinks=True)
    run(here, hook, "init", *given)
    assert (here / ".template.toml").is_file()
    run(template, hook, "init", f"INTO={into}", *given)
    assert git(into, "ls-files", ".template.toml")
    share_tools(into)
    existing.commit(into)
    run(into, hook, "update", f"TEMPLATE={template}")
    project = existing.write(tmp_path / "project", existing.LAYOUTS["flat"])
    run(template, hook, "adopt", f"INTO={project}", "BUILD=cu130")
    assert (project / "Dockerfile").is_file()


def test_what_make_starts_itself(tmp_path, hook):
    """Poetry and uv, which clone dependencies, and pre-commit find none of it either."""
    makefile = (TOP / "Makefile").read_text() + "\nprobe:\n\t@env\n"
    (tmp_path / "Makefile").write_text(makefile)
    environment = hook | {"GIT_SSL_CAINFO": "/ca", "GIT_SSH_COMMAND": "ssh -v"}
    done = subprocess.run(
        ["make", "probe"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    found = {line.partition("=")[0] for line in done.stdout.splitlines()}
    found = {name for name in found if name.startswith("GIT_")}
    kept = {name for name in environment if name.startswith("GIT_CONFIG_") and "0" not in name}
    kept -= {"GIT_CONFIG_COUNT"}
    assert found == {"GIT_SSL_CAINFO", "GIT_SSH_COMMAND"} | kept, done.stderr


def test_both_scripts_keep_the_same():
    assert init.GIT_KEPT == host.GIT_KEPT
