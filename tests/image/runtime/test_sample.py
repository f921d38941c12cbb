"""The sample trains in a container, stops in time and resumes."""

import subprocess
import time

import pytest

from torchcrate.testing.images import ENVIRONMENT, LABEL, PLACES

# Batches of 48 MB: two do not fit into 64 MB of shared memory.
BATCHES = """
import torch
from torch.utils.data import TensorDataset
from digits.data import loader
images = TensorDataset(torch.ones(48, 3, 512, 512))
batches = loader(images, batch_size=16, workers=2)
print(batches.num_workers, sum(float(batch[:, 0, 0, 0].sum()) for (batch,) in batches))
"""
# The threads that torch has after a training.
THREADS = """
from digits import train
train.main(train.Settings(train.Path("/tmp/results"), epochs=1))
print(train.torch.get_num_threads())
"""


def test_command(image, engine, seen):
    """The image starts the sample."""
    command = engine.images.get(image.tag).attrs["Config"]["Cmd"]
    assert command == ["python", "-m", "digits"]
    seen(" ".join(command))


@pytest.mark.real
def test_training(image, docker_run, seen):
    """The sample trains as any uid, with a read-only root, no rights and no network."""
    # test_stop_and_resume trains as the image's own user.
    done = docker_run(image, options=PLACES["all at once"])
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    device, _, rest = last.partition(": ")
    assert device == "CPU"
    assert float(rest.partition("%")[0]) >= 96
    assert image.build in done.stdout
    seen(last)


@pytest.mark.real
def test_cpu_limit(image, docker_run, seen):
    """In a container with a limit of CPUs the sample starts no thread more."""
    options = ("--cpus=1", "--env=OMP_NUM_THREADS=2")
    done = docker_run(image, "python", "-c", THREADS, options=options)
    assert done.stdout.splitlines()[-1] == "1", done.stderr
    seen("1 thread with --cpus=1")


@pytest.mark.real
def test_stop_and_resume(image, engine, tmp_path, seen):
    """SIGTERM ends the training within two seconds, and the next run resumes it."""
    tmp_path.chmod(0o777)
    command = ["python", "-m", "digits", "--results", "/results", "--epochs", "2000"]
    container = engine.containers.run(
        image.tag,
        command,
        detach=True,
        volumes={str(tmp_path): {"bind": "/results"}},
        labels=dict([LABEL.split("=")]),
        environment=list(ENVIRONMENT),
    )
    deadline = time.monotonic() + 600
    while not (tmp_path / "checkpoint.pt").exists():
        assert time.monotonic() < deadline, container.logs().decode()
        time.sleep(0.2)
    start = time.monotonic()
    container.stop(timeout=30)
    took = time.monotonic() - start
    assert took < 25, f"it took {took:.0f} s"  # two seconds, and a busy machine's slack
    assert container.wait()["StatusCode"] == 143
    assert b"Stopped; /results/checkpoint.pt has" in container.logs()
    mount = f"--volume={tmp_path}:/results"
    again = subprocess.run(
        ["docker", "run", "--rm", f"--label={LABEL}", mount, image.tag, *command[:-1], "1"],
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0, again.stderr
    assert "going on from there" in again.stdout
    seen(f"{took:.1f} s, {again.stdout.splitlines()[1]}")


@pytest.mark.real
@pytest.mark.parametrize("size", ["", "1g"], ids=["64 MB", "1 GB"])
def test_little_shared_memory(image, docker_run, size, seen):
    """With Docker's 64 MB of shared memory a DataLoader gives advice instead of a bus error."""
    options = (f"--shm-size={size}",) if size else ()
    done = docker_run(image, "python", "-c", BATCHES, options=options)
    assert done.returncode == 0, done.stderr
    workers, total = done.stdout.split()
    assert float(total) == 48
    assert (workers, "--shm-size" in done.stderr) == (("2", False) if size else ("0", True))
    seen(done.stderr.strip() or f"{workers} workers")
