"""`runtime` holds nothing but Python, /app/.venv and the code, and needs no rights."""

import subprocess
import time

import pytest


@pytest.mark.parametrize(
    "program",
    ["pip", "pip3", "poetry", "uv", "cc", "gcc", "g++", "c++", "make", "ld", "git", "curl"],
)
def test_no_build_tool(runtime, inside, program):
    assert not inside(runtime).exists(program)


def test_no_pip_module(runtime, inside):
    assert inside(runtime).run("python -m pip --version").rc == 1


@pytest.mark.parametrize(
    "pattern",
    [
        "/usr/include/python3*",
        "/var/lib/apt/lists/*_Packages*",
        "/var/cache/apt/archives/*.deb",
        "/root/.cache",
        "/opt/*",
        "/mnt/*",
        "/app/tests",
        "/app/poetry.lock",
        "/app/.venv/.lock",
    ],
)
def test_no_leftover(runtime, inside, pattern):
    assert inside(runtime, user="root").run(f"ls -d {pattern}").stdout == ""


def test_the_hosts_certificates_reach_no_layer_and_no_history(image, canary):
    """Of the CPU image, whose build was handed a bundle with a canary in it."""
    save = subprocess.Popen(["docker", "save", image("cpu", "runtime").tag], stdout=subprocess.PIPE)
    found, tail = 0, b""
    for chunk in iter(lambda: save.stdout.read(1 << 20), b""):
        found += (tail + chunk).count(canary.encode())
        tail = chunk[-len(canary) + 1 :]
    assert save.wait() == 0
    assert found == 0


def test_not_root(runtime, inside):
    assert inside(runtime).check_output("id -u") != "0"


def test_the_user_owns_nothing(runtime, inside):
    host = inside(runtime)
    found = inside(runtime, user="root").run(f"find / -xdev -user {host.check_output('id -u')}")
    assert found.stdout == ""


def test_nothing_is_writable_but_the_places_meant_for_it(runtime, inside):
    found = inside(runtime).run("find / -xdev -writable -not -type l")
    assert set(found.stdout.split()) <= {"/tmp", "/var/tmp", "/run/lock"}


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--user=12345:12345",),
        ("--read-only", "--tmpfs=/tmp"),
        ("--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none"),
    ],
    ids=["plain", "any uid", "read-only root", "no rights"],
)
def test_the_sample_trains(runtime, docker_run, options):
    # The image's own command, whole; where only the rights differ, a little of it.
    command = ("python", "-m", "torchcrate", "--epochs", "2") if options else ()
    done = docker_run(runtime, *command, options=options)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    device, _, rest = last.partition(": ")
    assert device == "CPU"
    assert float(rest.partition("%")[0]) >= (80 if options else 96)
    assert runtime.build in done.stdout


def test_a_command_runs_as_given(runtime, docker_run):
    done = docker_run(runtime, "python", "-c", "import sys; print(sys.argv); sys.exit(7)", "a b")
    assert (done.returncode, done.stdout) == (7, "['-c', 'a b']\n")


def test_the_code_can_be_imported_from_anywhere(runtime, docker_run):
    done = docker_run(
        runtime, "env", "-i", "/app/.venv/bin/python", "-c", "import torchcrate", options=("-w=/",)
    )
    assert done.returncode == 0, done.stderr


def test_the_doctor_exits_as_it_finds(runtime, docker_run):
    done = docker_run(runtime, "python", "-m", "torchcrate", "doctor")
    problems = [line for line in done.stdout.splitlines() if line.startswith("PROBLEM")]
    if runtime.build == "cpu":
        assert (done.returncode, problems) == (0, []), done.stdout
    else:
        assert done.returncode == 1
        assert problems == [
            "PROBLEM  no NVIDIA driver in this container: torch computes on the CPU"
        ]
        assert "--gpus all" in done.stdout
    assert "--shm-size" in done.stdout  # Docker's default of 64 MB


def test_stopping_leaves_a_checkpoint_to_go_on_from(runtime, engine, tmp_path):
    tmp_path.chmod(0o777)
    command = ["python", "-m", "torchcrate", "--results", "/results", "--epochs", "2000"]
    container = engine.containers.run(
        runtime.tag, command, detach=True, volumes={str(tmp_path): {"bind": "/results"}}
    )
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "checkpoint.pt").exists():
            assert time.monotonic() < deadline, container.logs().decode()
            time.sleep(0.2)
        start = time.monotonic()
        container.stop(timeout=60)
        assert time.monotonic() - start < 10  # two seconds, and a noisy machine's slack
        assert container.wait()["StatusCode"] == 143
        assert b"Stopped; /results/checkpoint.pt has" in container.logs()
    finally:
        container.remove(force=True)
    again = subprocess.run(
        ["docker", "run", "--rm", "-v", f"{tmp_path}:/results", runtime.tag, *command[:-1], "1"],
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0, again.stderr
    assert "going on from there" in again.stdout
