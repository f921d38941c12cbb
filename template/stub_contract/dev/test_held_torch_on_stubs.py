"""Tests in `dev` that would take too long with the real torch."""

import shutil

import pytest

from template.tests import wheelhouse
from torchcrate.testing.held import STATE, differences, hold_still, installed

ADD_AND_REMOVE = {"poetry add einops && poetry remove einops": ("", "einops")}


@pytest.mark.parametrize("command", ADD_AND_REMOVE)
def test_poetry_remove(image, shell, workspace, command, seen):
    """`poetry remove` takes a package out of pyproject.toml again, and torch stays."""
    seen(hold_still(image, shell, workspace, command, *ADD_AND_REMOVE[command]))


def test_restore(shell, image, tmp_path, seen):
    """`restore-torch` removes packages of another torch, and installs the lock's by hash."""
    # The wheels that the image was built from, made again.
    shutil.copytree(image.project / "locks", tmp_path / "locks")
    shutil.copy(image.project / "poetry.lock", tmp_path)
    wheelhouse.stub(tmp_path, image.build, tmp_path / "wheels")
    stranger = wheelhouse.any_wheel(tmp_path / "other", "nvidia-other", "1", "other", [])
    torch = wheelhouse.any_wheel(tmp_path / "other", "torch", "9.9", "other", ["nvidia-other"])
    swap = f"uv pip install --no-deps /mnt/other/{torch.name} /mnt/other/{stranger.name} >&2"
    options = [f"--volume={tmp_path}/{name}:/mnt/{name}:ro" for name in ("other", "wheels")]
    look = f"python -c '{STATE}' | sed -E 's/, files [0-9a-f]+//g'"  # their times are new
    before = installed(shell(look).stdout)
    restore = "restore-torch --find-links /mnt/wheels >&2"
    done = shell(f"{swap}; {restore}; {look}", *options)
    assert done.returncode == 0, done.stderr
    assert differences(before, installed(done.stdout)) == []
    seen(f"torch {before['torch']}")
