"""`make run` chooses a build that this machine can use, and refuses what cannot work."""

from collections import namedtuple

import pytest

import build
import engine
import host

GIB = 2**30


@pytest.fixture
def machine(monkeypatch):
    """Return a function that pretends to be on a machine."""
    monkeypatch.delenv("BUILD", raising=False)
    monkeypatch.delenv("WHEELS", raising=False)
    monkeypatch.setattr(build, "builds", lambda: ["cpu", "cu130"])

    def pretend(gpu, index):
        monkeypatch.setattr(engine, "quiet", lambda command, *_: "GPU 0" if gpu else None)
        monkeypatch.setattr(host, "answers", lambda url: index)

    return pretend


@pytest.mark.parametrize(
    "gpu, index, chosen, why",
    [
        (True, True, "cu130", "this machine has an NVIDIA GPU"),
        (False, True, "cpu", "no NVIDIA GPU"),
        (False, False, "cu130", "runs on the CPU too"),
    ],
)
def test_what_fits_the_machine(machine, capsys, gpu, index, chosen, why):
    machine(gpu, index)
    assert build.choose_build() == chosen
    assert why in capsys.readouterr().out


def test_build_says(machine, monkeypatch):
    machine(gpu=True, index=True)
    monkeypatch.setenv("BUILD", "cpu")
    assert build.choose_build() == "cpu"


def test_a_build_without_a_lock(machine, monkeypatch):
    monkeypatch.setenv("BUILD", "cu999")
    with pytest.raises(
        SystemExit,
        match=r"ERROR: BUILD=cu999 has no lock locks/torch.cu999.txt \(there are: cpu, cu130\): "
        "make it with `make lock BUILD=cu999`",
    ):
        build.choose_build()


@pytest.mark.parametrize("free, stops", [(2 * GIB, True), (100 * GIB, False)])
def test_disk_space_for_a_first_build(monkeypatch, tmp_path, free, stops):
    answers = {"image": None, "info": str(tmp_path)}
    monkeypatch.setattr(engine, "quiet", lambda command, *_: answers[command[1]])
    usage = namedtuple("usage", "free")(free)
    monkeypatch.setattr(build.shutil, "disk_usage", lambda path: usage)
    if stops:
        with pytest.raises(SystemExit, match=r"2.0 GB free, and .* GPU image writes up to 12 GB"):
            build.check_disk({}, "gpu", "tag")
    else:
        build.check_disk({}, "gpu", "tag")


def test_the_default_build_has_a_lock():
    assert build.default_gpu_build() in build.builds()


def test_the_index_of_a_build():
    assert build.torch_index("cpu").endswith("/whl/cpu")
    assert build.torch_index(build.default_gpu_build()) == ""
