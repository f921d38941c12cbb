"""The tests leave nothing behind, even if they are stopped."""

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
    """Return the records of the build cache, except the copies of the build's folders.

    They are small, and BuildKit keeps a second one if two builds of a folder follow closely.
    """
    command = ["docker", "buildx", "du", "--verbose"]
    deadline = time.monotonic() + 120
    while True:
        listed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        records = re.findall(r"^ID:\s+(\S+)$.*?^Description:\s+(.*?)$", listed, re.M | re.S)
        numbers, ours = {number for number, _ in records}, cache.cached(dict(os.environ))
        if numbers == ours:
            break
        # BuildKit may be collecting garbage: on a full disk it does so after builds.
        assert time.monotonic() < deadline, numbers ^ ours
        time.sleep(1)
    return {number for number, what in records if not what.startswith("local source for ")}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_stopped_tests(docker_build, engine, quiet, number, tmp_path):
    """If pytest is stopped while its containers run, it removes them, its images and its cache."""
    done = docker_build(TOP, "--target=settled")  # the project's own cache may stay
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
            # A process that a shell starts in the background ignores Ctrl-C.
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
    # The engine may still be removing a container that was started with --rm.
    deadline = time.monotonic() + 120
    while engine.api.containers(all=True, filters=label) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert engine.api.containers(all=True, filters=label) == []
    assert engine.api.images(filters=label) == []
    assert cached() <= before
