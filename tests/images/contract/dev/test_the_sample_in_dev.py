"""The sample's own tests pass in `dev`, and the doctor knows its torch."""

import re

import pytest


@pytest.mark.real
@pytest.mark.once
def test_the_samples_tests_pass(image, docker_run, seen):
    """`python -m pytest tests` passes in the container, with nothing skipped."""
    done = docker_run(image, "python", "-m", "pytest", "-qx", "-p", "no:cacheprovider", "tests")
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
    seen(re.search(r"\d+ passed", done.stdout).group())


def test_the_doctor_notices_another_torch(shell, image, other_torch, seen):
    """Where torch is not the image's any more, the doctor says so and how to restore it."""
    doctor = "python -m torchcrate doctor"
    done = shell(doctor)
    assert f"ok  torch is build {image.build}, as its lock has it" in done.stdout, done.stderr
    done = shell(f"{other_torch.swap}; {doctor}", *other_torch.options)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "torch was changed since the image was built: torch is 9.9 instead" in done.stdout
    assert "→ Run `restore-torch`" in done.stdout
    seen("PROBLEM, and `restore-torch`")
