"""The sample's own tests pass in `dev`."""

import re

import pytest


@pytest.mark.real
@pytest.mark.once
def test_sample_tests(image, docker_run, seen):
    """`python -m pytest tests` passes in the container, with nothing skipped."""
    done = docker_run(image, "python", "-m", "pytest", "-qx", "-p", "no:cacheprovider", "tests")
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
    seen(re.search(r"\d+ passed", done.stdout).group())
