"""BuildKit's own checks (`docker build --check`) find nothing, and bake reads its file as meant."""

import json
import subprocess

import pytest

from template.tests.common import TOP, unpatched


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.cpu"])
def test_check(fork, docker_build, name):
    result = docker_build(fork(), "--check", f"--file={name}")
    assert result.code == 0, result.output
    assert "no warnings found" in result.output


def test_cache():
    """With a cache to write to, torch is compressed once, as in the cache. dev writes none."""
    command = ["docker", "buildx", "bake", "--print", "gpu", "gpu-dev"]
    environment = unpatched() | {"CACHE_TO": "Registry.example/Me/cache"}
    done = subprocess.run(command, cwd=TOP, env=environment, capture_output=True, check=True)
    targets = json.loads(done.stdout)["target"]
    (cache,) = targets["gpu"]["cache-to"]
    assert cache["ref"].startswith("registry.example/me/cache:")
    assert all(t["output"][0]["compression"] == cache["compression"] for t in targets.values())
    assert "cache-to" not in targets["gpu-dev"]
