"""The doctor's checks work in `dev`, with the real torch."""

import re

import pytest

from torchcrate.host import TOP

pytestmark = [pytest.mark.real, pytest.mark.once]


def test_each_part(image, docker_run, seen):
    """Each check finds what is wrong and names the remedy."""
    tests = TOP / "template/real_contract/doctor_in_dev.py"
    options = (
        f"--volume={tests}:/mnt/test_doctor.py:ro",
        f"--volume={TOP}/torchcrate/doctor.py:/mnt/doctor.py:ro",
        "--workdir=/mnt",
    )
    command = ("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_doctor.py")
    done = docker_run(image, *command, options=options)
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
    seen(re.search(r"\d+ passed", done.stdout).group())
