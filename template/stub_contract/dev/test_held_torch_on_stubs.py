"""Tests in `dev` that would take too long with the real torch."""

import pytest

from torchcrate.testing.held import hold_still

ADD_AND_REMOVE = {"poetry add einops && poetry remove einops": ("", "einops")}


@pytest.mark.parametrize("command", ADD_AND_REMOVE)
def test_poetry_remove(image, shell, workspace, command, seen):
    """`poetry remove` takes a package out of pyproject.toml again, and torch stays."""
    seen(hold_still(image, shell, workspace, command, *ADD_AND_REMOVE[command]))
