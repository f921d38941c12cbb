"""The doctor says whether the image can do what it was built for."""

import pytest

pytestmark = pytest.mark.real


def test_no_driver(image, docker_run, seen):
    """Without a driver the doctor fails in a GPU image, and names the remedy."""
    done = docker_run(image, "doctor")
    problems = [line for line in done.stdout.splitlines() if line.startswith("PROBLEM")]
    if image.build == "cpu":
        assert (done.returncode, problems) == (0, []), done.stdout
    else:
        assert done.returncode == 1
        assert problems == [
            "PROBLEM  no NVIDIA driver in this container: torch computes on the CPU"
        ]
        assert "--gpus all" in done.stdout
    assert "--shm-size" in done.stdout  # Docker's default of 64 MB
    seen(f"exit code {done.returncode}")
