"""Builds use mirrors if they are given."""

import re

import pytest

from template import engine as engine_script


@pytest.fixture
def mirror(engine, base_image):
    """Return scheme and host of this machine's own apt archive, as a mirror for its base."""
    system = engine_script.os_release()
    base = engine.containers.run(base_image, ["grep", "^ID=", "/etc/os-release"], remove=True)
    if base.decode().strip() != f"ID={system['ID']}":
        pytest.skip(f"this machine is not {base.decode().strip()}, so no mirror is known")
    return re.match(r"https?://[^/]+", engine_script.archive(system)).group()


def test_apt_mirror(fork, docker_build, mirror):
    result = docker_build(
        fork(), "--target=base", f"--build-arg=APT_MIRROR={mirror}", "--no-cache-filter=base"
    )
    assert result.code == 0, result.output
    hosts = set(re.findall(r"(?:Get|Hit):\d+ (https?://[^/]+)/", result.output))
    assert {host for host in hosts if "launchpad" not in host} == {mirror}


def test_unreachable_apt_mirror(fork, docker_build):
    result = docker_build(fork(), "--target=base", "--build-arg=APT_MIRROR=http://127.0.0.1:9")
    assert result.code
    assert "Failed to fetch http://127.0.0.1:9/" in result.output
    assert "did not give a Python 3.11 package" in result.sentence
