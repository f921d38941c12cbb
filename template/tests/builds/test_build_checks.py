"""BuildKit's own checks (`docker build --check`) find nothing."""

import pytest


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.cpu"])
def test_check(fork, docker_build, name):
    result = docker_build(fork(), "--check", f"--file={name}")
    assert result.code == 0, result.output
    assert "no warnings found" in result.output
