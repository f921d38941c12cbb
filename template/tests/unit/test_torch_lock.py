"""What Poetry may not change in the dev image, and what restore-torch finds wrong."""

import zipfile
from importlib.metadata import distributions
from types import SimpleNamespace

import pytest

from template.tests import wheelhouse
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


@pytest.fixture
def installed(tmp_path):
    """Return a function that installs a stub wheel and returns the environment's packages."""

    def install(name, version, requires=()):
        wheel = wheelhouse.wheel(tmp_path / "wheels", name, version, "cpu", list(requires))
        zipfile.ZipFile(wheel).extractall(tmp_path / "site")
        return list(distributions(path=[str(tmp_path / "site")]))

    return install


@pytest.fixture
def uv(monkeypatch):
    """Replace uv, and return what it is asked."""
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    monkeypatch.delenv("TORCH_INDEX_URL", raising=False)
    uv = SimpleNamespace(asked=[], refuses=None)

    def run(*arguments):
        uv.asked.append(list(arguments))
        return uv.refuses not in arguments

    monkeypatch.setattr(torch_lock, "uv", run)
    return uv


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
            "torch is missing where this image's lock has 2.13.0+cpu: run `restore-torch`.",
        ),
        (
            "torch",
            "9.9",
            "2.13.0",
            "torch is 9.9 where this image's lock has 2.13.0+cpu: run `restore-torch`.",
        ),
        (
            "torchaudio",
            "9.9",
            "2.13.0",
            "torchaudio is 9.9 where this image's lock has none: run `restore-torch`.",
        ),
    ],
)
def test_why(lock, name, there, wanted, says):
    assert torch_lock.why(lock("cpu", CPU), name, there, wanted) == says


def test_as_locked(lock, installed):
    assert torch_lock.damage(lock("cpu", CPU), installed("torch", "2.13.0+cpu")) == ({}, set())


def test_another_version(lock, installed):
    wrong, strangers = torch_lock.damage(lock("cpu", CPU), installed("torch", "2.13.0"))
    assert (wrong, strangers) == ({"torch": "torch is 2.13.0 instead of 2.13.0+cpu"}, set())


def test_nothing_there(lock):
    wrong, _ = torch_lock.damage(lock("cpu", CPU), [])
    assert wrong == {"torch": "torch 2.13.0+cpu is missing"}


@pytest.mark.parametrize("edit", ["unlink", "append"])
def test_changed_files(lock, installed, tmp_path, edit):
    found = installed("torch", "2.13.0+cpu")
    file = tmp_path / "site" / "torch" / "version.py"
    file.unlink() if edit == "unlink" else file.write_text(file.read_text() + "# patched\n")
    wrong, _ = torch_lock.damage(lock("cpu", CPU), found)
    assert wrong == {"torch": "torch 2.13.0+cpu lacks files, or has others"}


def test_strangers_of_another_torch(lock, installed):
    """Found by the installed packages: the torch that needs them is still there."""
    installed("nvidia-cublas", "13.1")
    installed("nvidia-ml-py", "13")
    found = installed("torch", "2.13.0", ["nvidia-cublas", "numpy"])
    assert torch_lock.damage(lock("cpu", CPU), found)[1] == {"nvidia-cublas"}


def test_strangers_of_default_torch(lock, installed):
    """Found by poetry.lock: torch was restored by hand, and its other packages were left."""
    installed("nvidia-cublas", "13.1")
    file, found = lock("cpu", CPU), installed("torch", "2.13.0+cpu")
    assert torch_lock.damage(file, found)[1] == set()
    (file.parent.parent / "poetry.lock").write_text(
        '[[package]]\nname = "torch"\ndependencies = { nvidia-cublas = "*" }\n'
        '[[package]]\nname = "nvidia-cublas"\n'
    )
    assert torch_lock.damage(file, found)[1] == {"nvidia-cublas"}


def test_no_lock_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["restore-torch"])
    with pytest.raises(SystemExit, match=r"^ERROR: .* keeps no torch lock: run this in the image"):
        torch_lock.main()


@pytest.mark.parametrize(
    "text, mirror, index",
    [
        (CPU, "", ["--default-index", "https://example.com/whl/cpu"]),
        (CPU, "https://mirror.example/whl/", ["--default-index", "https://mirror.example/whl/cpu"]),
        (CUDA, "https://mirror.example/whl/", []),
    ],
)
def test_restore_index(lock, uv, monkeypatch, text, mirror, index):
    monkeypatch.setenv("TORCH_INDEX_URL", mirror)
    file = lock("cpu", text)
    torch_lock.restore(file, ["torch"], set(), ["--link-mode=copy"])
    (command,) = uv.asked
    assert command[5:] == [
        *("--reinstall-package=torch", *index, "--link-mode=copy", "--requirement", file)
    ]


def test_restore_from_wheels(lock, uv, monkeypatch):
    torch_lock.restore(lock("cpu", CPU), ["torch"], set(), ["--find-links", "wheels"])
    assert ["--offline" in command for command in uv.asked] == [True]
    monkeypatch.setenv("UV_FIND_LINKS", "wheels")
    uv.refuses = "--offline"
    torch_lock.restore(lock("cpu", CPU), ["torch"], set(), [])
    assert ["--offline" in command for command in uv.asked[1:]] == [True, False]


def test_missing_wheels(lock, uv):
    uv.refuses = "install"
    with pytest.raises(SystemExit, match=r"^ERROR: torch was not restored \(uv.s message is above"):
        torch_lock.restore(lock("cpu", CPU), ["torch"], set(), [])


def test_pruned_files(lock, installed, tmp_path):
    found = installed("torch", "2.13.0+cpu")
    (tmp_path / "site" / "torch" / "version.py").unlink()
    here = lock("cpu", CPU)
    (here.parent / "torch-pruned.txt").write_text("# a list\n\n*.a\ntorch/ver*  # why\n")
    assert torch_lock.damage(here, found) == ({}, set())
