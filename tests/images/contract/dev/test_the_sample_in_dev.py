"""The sample's own tests pass where they can run: inside the `dev` image."""

import re

import pytest

pytestmark = pytest.mark.real


def test_the_samples_tests_pass(image, docker_run, seen):
    """`python -m pytest tests` passes in the container, with nothing skipped."""
    done = docker_run(image, "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
    seen(re.search(r"\d+ passed", done.stdout).group())
