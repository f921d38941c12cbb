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


def test_torch_compile_works(image, docker_run, seen):
    """torch.compile finds its compiler and headers."""
    code = (
        "import torch; f = torch.compile(lambda x: torch.sin(x) ** 2 + torch.cos(x) ** 2); "
        "print(f(torch.arange(8.)).round().tolist())"
    )
    done = docker_run(image, "python", "-c", code)
    assert done.stdout == f"{[1.0] * 8}\n", done.stderr
    seen("sin² + cos² is 1")
