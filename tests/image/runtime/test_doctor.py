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


def test_cpu_limit(image, docker_run, seen):
    """In a container with a limit of CPUs the doctor names the right number of threads."""
    options = ("--cpus=1", "--env=OMP_NUM_THREADS=2")
    done = docker_run(image, "doctor", options=options)
    assert "torch starts 2 thread(s), and this container may use 1 CPU(s)" in done.stdout
    assert "OMP_NUM_THREADS=1" in done.stdout
    seen("OMP_NUM_THREADS=1")
