"""In `dev`, Poetry does not replace torch."""

import posixpath

import pytest

from torchcrate import build as build_script
from torchcrate.testing.held import hold_still

# {command: (the package that it adds, the package that it removes)}
COMMANDS = {
    "poetry install": ("", ""),
    "poetry sync": ("", ""),
    "poetry add torchmetrics": ("torchmetrics", ""),
}
# Poetry resolves for half a minute, and the lock is the same in all images.
ONCE = {"poetry add torchmetrics": pytest.mark.once}


@pytest.mark.parametrize(
    "command", [pytest.param(command, marks=ONCE.get(command, ())) for command in COMMANDS]
)
def test_poetry(image, shell, workspace, command, seen):
    """Poetry adds and removes packages, torch stays, and the files it writes belong to you."""
    seen(hold_still(image, shell, workspace, command, *COMMANDS[command]))


def test_other_packages(shell, seen):
    """Any user can replace another package of the image."""
    done = shell("uv pip uninstall pytest >&2 && poetry install >&2 && python -m pytest --version")
    assert done.returncode == 0, done.stderr
    seen(done.stdout.strip())


def test_workspace_imports(shell, workspace, image, seen):
    """In any folder Python imports your code from /workspace, where you edit it."""
    code = build_script.code(image.project)
    folder = next((name for name, target in code.items() if target == "/app/src"), ".")
    (workspace / folder / "made_here.py").touch()
    done = shell("cd / && python -c 'import made_here; print(made_here.__file__)'")
    expected = posixpath.normpath(f"/workspace/{folder}/made_here.py")
    assert done.stdout.strip() == expected, done.stdout + done.stderr
    seen(done.stdout.strip())


def test_editor_user(shell, seen):
    """There is a user `dev` with a home folder, for editors."""
    done = shell("id dev && stat --format %U ~dev")
    assert done.returncode == 0 and done.stdout.endswith("\ndev\n"), done.stdout + done.stderr
    seen(done.stdout.splitlines()[0])
