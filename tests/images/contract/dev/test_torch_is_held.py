"""In `dev`, with your project mounted, nothing swaps torch behind your back."""

import json
import os
import posixpath
import re
import shutil
import tomllib

import pytest

import build as build_script
import split_locks
import wheelhouse

# Each installed package: its name, its version, and how its files are.
STATE = """
import hashlib, importlib.metadata as m, json
found = {}
for d in m.distributions(path=["/app/.venv/lib/python3.11/site-packages"]):
    there = [f for f in d.files or () if f.locate().exists()]  # some are pruned
    stats = [(str(f), f.locate().stat()) for f in there]
    files = repr([(name, each.st_size, each.st_mtime_ns) for name, each in stats])
    found[d.metadata["Name"]] = f"{d.version}, files {hashlib.sha256(files.encode()).hexdigest()}"
print(json.dumps(found))
"""
# What is typed, what pyproject.toml has then and what it has not.
COMMANDS = {
    "poetry install": ("", ""),
    "poetry sync": ("", ""),
    "poetry add torchmetrics": ("torchmetrics", ""),
}
# To resolve takes Poetry half a minute, and in all images it is the same lock.
ONCE = {"poetry add torchmetrics": pytest.mark.once}
ADD_AND_REMOVE = {"poetry add einops && poetry remove einops": ("", "einops")}


def installed(output):
    """Return {name: state} from the last line of what STATE printed."""
    states = json.loads(output.splitlines()[-1]).items()
    return {split_locks.normalize(name): state for name, state in states}


def differences(before, after):
    """Return the names whose state is not the same, or that came or went."""
    return sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n))


def hold_still(image, shell, workspace, command, with_, without):
    """Run a command of Poetry's and check what it changed; return the words for the report."""
    torch_lock = (image.project / f"locks/torch.{image.build}.txt").read_text()
    poetry_lock = tomllib.loads((image.project / "poetry.lock").read_text())
    family = split_locks.family(poetry_lock) | split_locks.pins(torch_lock).keys()
    look = f"python -c '{STATE}'"
    before = installed(shell(look).stdout)
    done = shell(f"{command} >&2; {look}")
    assert done.returncode == 0, done.stdout + done.stderr
    changed = sorted(family.intersection(differences(before, installed(done.stdout))))
    assert not changed, f"{command} changed {changed}"
    pyproject, lock = ((workspace / n).read_text() for n in ("pyproject.toml", "poetry.lock"))
    named = r'(?m)^ *"?{} ?[(=]'  # in a list of the standard's, or a table of Poetry's
    added = with_ and re.search(named.format(with_), pyproject) and f'name = "{with_}"' in lock
    assert added or not with_, f"{with_} is not in pyproject.toml and poetry.lock"
    assert not without or not re.search(named.format(without), pyproject)
    owners = {path.stat().st_uid for path in workspace.rglob("*")}
    assert owners == {os.getuid() or 12345}
    there = family & before.keys()
    assert "torch" in there
    return f"torch {before['torch'].partition(',')[0]} and {len(there) - 1} more stay"


@pytest.mark.parametrize(
    "command", [pytest.param(command, marks=ONCE.get(command, ())) for command in COMMANDS]
)
def test_poetry_leaves_it_alone(image, shell, workspace, command, seen):
    """Poetry does what it is asked, torch's family stays, and what is written is yours."""
    seen(hold_still(image, shell, workspace, command, *COMMANDS[command]))


@pytest.mark.stub  # as with the real one, which would resolve twice more
@pytest.mark.parametrize("command", ADD_AND_REMOVE)
def test_poetry_takes_away_what_it_added(image, shell, workspace, command, seen):
    """A package that is added and removed is gone from pyproject.toml, and torch's family stays."""
    seen(hold_still(image, shell, workspace, command, *ADD_AND_REMOVE[command]))


def test_any_user_may_change_the_other_packages(shell, seen):
    """A user without rights replaces a package that came with the image."""
    done = shell("uv pip uninstall pytest >&2 && poetry install >&2 && python -m pytest --version")
    assert done.returncode == 0, done.stderr
    seen(done.stdout.strip())


def test_a_swap_is_noticed(shell, other_torch, image, seen):
    """`restore-torch --check` names what was swapped, and the command that mends it."""
    done = shell("restore-torch --check")
    assert done.returncode == 0, done.stdout + done.stderr
    done = shell(f"{other_torch.swap}; restore-torch --check", *other_torch.options)
    assert done.returncode == 1, done.stdout
    assert "torch is 9.9 instead of" in done.stdout
    assert done.stderr.splitlines()[-1] == (
        f"ERROR: torch is not build {image.build} of this image: run `restore-torch`."
    )
    seen(done.stdout.splitlines()[0])


@pytest.mark.stub  # the real one's wheels are gigabytes
def test_it_can_be_restored(shell, other_torch, image, tmp_path, seen):
    """`restore-torch` takes out what does not belong and installs what is missing, by digest."""
    # The wheels that the image was built from, once more.
    shutil.copytree(image.project / "locks", tmp_path / "locks")
    shutil.copy(image.project / "poetry.lock", tmp_path)
    wheelhouse.stub(tmp_path, image.build, tmp_path / "wheels")
    options = (*other_torch.options, f"--volume={tmp_path}/wheels:/mnt/wheels:ro")
    look = f"python -c '{STATE}' | sed -E 's/, files [0-9a-f]+//g'"  # their times are new
    before = installed(shell(look).stdout)
    restore = "restore-torch --find-links /mnt/wheels >&2"
    done = shell(f"{other_torch.swap}; {restore}; {look}", *options)
    assert done.returncode == 0, done.stderr
    assert differences(before, installed(done.stdout)) == []
    seen(f"torch {before['torch']}")


def test_imports_come_from_the_workspace(shell, workspace, image, seen):
    """Python finds your code below /workspace, where you edit it, from any folder."""
    code = build_script.code(image.project)
    folder = next((name for name, target in code.items() if target == "/app/src"), ".")
    (workspace / folder / "made_here.py").touch()
    done = shell("cd / && python -c 'import made_here; print(made_here.__file__)'")
    expected = posixpath.normpath(f"/workspace/{folder}/made_here.py")
    assert done.stdout.strip() == expected, done.stdout + done.stderr
    seen(done.stdout.strip())


def test_an_editor_has_a_user(shell, seen):
    """There is a user `dev` with a home of its own, for an editor to run as."""
    done = shell("id dev && stat --format %U ~dev")
    assert done.returncode == 0 and done.stdout.endswith("\ndev\n"), done.stdout + done.stderr
    seen(done.stdout.splitlines()[0])
