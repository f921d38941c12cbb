"""Nothing that the tests made is left behind, also when they are stopped half-way."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from template import cache
from template.tests.common import TOP

PYTEST = (sys.executable, "-m", "pytest", "-c", "template/tests/pytest.ini", "--rootdir=.")
SESSION = f"stopped-{os.getpid()}"
TESTS = "template/tests/test_stub_images.py"


def cached():
    """Return what the build cache has, but for the copies of folders that builds were sent.

    Those are kilobytes, of which BuildKit keeps another for the project itself, too, where one
    build of it follows closely on the other.
    """
    command = ["docker", "buildx", "du", "--verbose"]
    listed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    records = re.findall(r"^ID:\s+(\S+)$.*?^Description:\s+(.*?)$", listed, re.M | re.S)
    assert {number for number, _ in records} == cache.cached(dict(os.environ))
    return {number for number, what in records if not what.startswith("local source for ")}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_stopping_the_tests(docker_build, engine, quiet, number, tmp_path):
    """A session that is stopped while its containers run removes them, its images and its cache."""
    done = docker_build(TOP, "--target=deps")  # what is the project's own may stay
    assert done.code == 0, done.output
    before = cached()
    with (tmp_path / "log").open("wb") as log:
        tests = subprocess.Popen(
            [*PYTEST, "-p", "no:cacheprovider", "-k", "gpu-runtime", TESTS],
            cwd=TOP,
            stdout=log,
            stderr=log,
            env={**os.environ, "TEST_SESSION": SESSION},
            start_new_session=True,
            # A shell that starts tests in the background has them ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    label = {"label": f"image-test={SESSION}"}
    try:
        deadline = time.monotonic() + 600
        while not (
            engine.api.containers(filters=label)
            and any("runtime" in str(i["RepoTags"]) for i in engine.api.images(filters=label))
        ):
            assert tests.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.1)
        os.killpg(tests.pid, number)  # as a terminal does
        assert tests.wait(timeout=600) == 2, (tmp_path / "log").read_text()
    finally:
        if tests.poll() is None:
            os.killpg(tests.pid, signal.SIGKILL)
    # The engine may still be at removing a container that was started with --rm.
    deadline = time.monotonic() + 120
    while engine.api.containers(all=True, filters=label) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert engine.api.containers(all=True, filters=label) == []
    assert engine.api.images(filters=label) == []
    assert cached() <= before
