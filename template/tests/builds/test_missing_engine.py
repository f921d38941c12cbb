"""Without an engine the tests fail and say what to do. They do not skip."""

import os
import subprocess
import sys

from template.tests.common import TOP


def test_no_engine(tmp_path):
    environment = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/docker.sock"}
    done = subprocess.run(
        [sys.executable, "crate", "contract", "--build=cpu", "an-image", "-x"],
        cwd=TOP,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout
    assert f"ERROR: the Docker Engine of unix://{tmp_path}/docker.sock does not answer" in (
        done.stderr
    )
    assert " skipped" not in done.stdout
