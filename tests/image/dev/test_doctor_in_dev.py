"""In `dev` the doctor compares torch with the torch lock."""

from torchcrate.testing.held import OTHER_TORCH


def test_other_torch(shell, image, seen):
    """If torch was replaced, the doctor says so, and what mends it."""
    done = shell("doctor")
    assert f"ok  torch is build {image.build}, as its lock has it" in done.stdout, done.stderr
    done = shell(f"{OTHER_TORCH}; doctor")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"torch is not this image's build {image.build}: torch is 9.9, not " in done.stdout
    assert "→ Start a new container" in done.stdout
    seen("PROBLEM, and what mends it")
