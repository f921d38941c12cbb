"""In `dev`, with your project mounted, nothing swaps torch behind your back."""

import posixpath

import pytest

from torchcrate import build as build_script
from torchcrate.testing.held import hold_still

# What is typed, what pyproject.toml has then and what it has not.
COMMANDS = {
    "poetry install": ("", ""),
    "poetry sync": ("", ""),
    "poetry add torchmetrics": ("torchmetrics", ""),
}
# To resolve takes Poetry half a minute, and in all images it is the same lock.
ONCE = {"poetry add torchmetrics": pytest.mark.once}


@pytest.mark.parametrize(
    "command", [pytest.param(command, marks=ONCE.get(command, ())) for command in COMMANDS]
)
def test_poetry_leaves_it_alone(image, shell, workspace, command, seen):
    """Poetry does what it is asked, torch's family stays, and what is written is yours."""
    seen(hold_still(image, shell, workspace, command, *COMMANDS[command]))


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
