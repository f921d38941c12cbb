"""The private engine can be started twice, starts again when killed, and leaves nothing running."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from template import engine as engine_script
from torchcrate.host import TOP

pytestmark = pytest.mark.engine


@pytest.fixture
def folder(engine, quiet):
    folder = engine_script.folder()
    if os.environ.get("DOCKER_HOST") != f"unix://{folder}/docker.sock":
        pytest.skip("this machine has a Docker Engine of its own, so there is no private one")
    return folder


def processes(folder):
    """Return the command of each process that belongs to the engine."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command and "python" not in command:
            found.append(command)
    return found


def mounts(folder):
    return [line for line in Path("/proc/mounts").read_text().splitlines() if f" {folder}/" in line]


def test_start_twice(folder):
    before = (folder / "dockerd.pid").read_text()
    starts = [
        subprocess.Popen([sys.executable, TOP / "crate", "engine", "start"], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    assert [start.wait() for start in starts] == [0, 0]
    assert (folder / "dockerd.pid").read_text() == before


def test_killed(folder, engine, base_image):
    engine.containers.run(base_image, ["sleep", "1000"], detach=True, name="image-test-killed")
    images = {image.id for image in engine.images.list()}
    os.kill(int((folder / "dockerd.pid").read_text()), signal.SIGKILL)
    time.sleep(1)
    environment = engine_script.up()
    assert engine_script.version(environment)
    assert {image.id for image in engine.images.list()} == images
    container = engine.containers.get("image-test-killed")
    assert container.status == "exited"
    container.remove()


def test_stop(folder, engine, base_image):
    engine.containers.run(base_image, ["sleep", "1000"], detach=True, name="image-test-stopped")
    engine_script.stop(folder)
    try:
        assert processes(folder) == []
        assert mounts(folder) == []
    finally:
        engine_script.up()
        engine.containers.get("image-test-stopped").remove(force=True)
