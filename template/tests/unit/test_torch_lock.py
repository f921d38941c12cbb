"""What Poetry may not change in the dev image."""

import pytest

from torchcrate.stages.dev import torch_lock

CPU = "--index-url https://example.com/whl/cpu\ntorch===2.13.0+cpu \\\n    --hash=sha256:00\n"
CUDA = """# Its index is the default one.
nvidia-cublas==13.1 \\
    --hash=sha256:00
torch===2.13.0 ; platform_machine == 'x86_64' \\
    --hash=sha256:00
torch==2.13.0+other ; platform_machine != 'x86_64' \\
    --hash=sha256:00
triton==3.7 ; platform_machine == 'none' \\
    --hash=sha256:00
"""
PACKAGES = [
    {"name": "torch", "dependencies": {"nvidia-cublas": "*", "numpy": "*", "cuda-toolkit": "*"}},
    {"name": "nvidia-cublas"},
    {"name": "cuda-toolkit"},
    {"name": "numpy"},
    {"name": "nvidia-ml-py"},
    {"name": "lightning", "dependencies": {"torch": "*", "numpy": "*"}},
]
REBUILD = "run `./crate lock` outside the container and build the image again."


@pytest.fixture
def lock(tmp_path):
    """Return a function that writes a torch lock into an environment."""

    def write(build, text):
        file = tmp_path / "app" / ".venv" / f"torch.{build}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write


def test_no_lock_holds_nothing(tmp_path):
    assert torch_lock.find(tmp_path) is None


def test_build(lock):
    file = lock("cu130", CUDA)
    assert torch_lock.find(file.parent) == file
    assert torch_lock.build(file) == "cu130"


def test_pins(lock, monkeypatch):
    assert torch_lock.pins(lock("cpu", CPU)) == {"torch": "2.13.0+cpu"}
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert torch_lock.pins(lock("cu130", CUDA)) == {"torch": "2.13.0", "nvidia-cublas": "13.1"}


@pytest.mark.parametrize("build, text", [("cpu", CPU), ("cu130", CUDA)])
def test_held(lock, build, text):
    """Also CUDA packages in a CPU image, and packages for other machines."""
    held = torch_lock.held(lock(build, text), PACKAGES)
    family = {"torch", "nvidia-cublas", "cuda-toolkit"}
    assert held == family | ({"triton"} if build == "cu130" else set())


def test_held_from_lock(lock):
    assert torch_lock.held(lock("cu130", CUDA), []) == {"torch", "nvidia-cublas", "triton"}


@pytest.mark.parametrize(
    "name, there, wanted, says",
    [
        ("torch", "2.13.0+cpu", "2.13.0", ""),
        ("nvidia-cublas", None, "13.1", ""),
        (
            "torch",
            "2.13.0+cpu",
            "2.14.0",
            f"torch stays 2.13.0+cpu where poetry.lock wants 2.14.0: {REBUILD}",
        ),
        (
            "torch",
            "2.13.0+cpu",
            None,
            f"torch 2.13.0+cpu stays, since this image's torch build has it: {REBUILD}",
        ),
        (
            "torchaudio",
            None,
            "2.13.0",
            f"torchaudio is not installed, since this image's torch build has none: {REBUILD}",
        ),
        (
            "torch",
            None,
            "2.13.0",
            "torch is missing where this image's lock has 2.13.0+cpu: start a new container.",
        ),
        (
            "torch",
            "9.9",
            "2.13.0",
            "torch is 9.9 where this image's lock has 2.13.0+cpu: start a new container.",
        ),
        (
            "torchaudio",
            "9.9",
            "2.13.0",
            "torchaudio is 9.9 where this image's lock has none: start a new container.",
        ),
    ],
)
def test_why(lock, name, there, wanted, says):
    assert torch_lock.why(lock("cpu", CPU), name, there, wanted) == says
