"""Wrong input stops the build with one sentence that names the file or argument and the remedy."""

import io
import re
import time
import zipfile

import pytest

from template.tests.common import REPOSITORY, TOP
from torchcrate import build
from torchcrate.stages.locks import split_locks

GPU = build.default_gpu_build()
CPU_PINS = split_locks.pins((TOP / "locks/torch.cpu.txt").read_text())


def drop(poetry_lock, name):
    """Remove a package from a poetry.lock."""
    blocks = poetry_lock.read_text().split("\n[[package]]\n")
    kept = [block for block in blocks if not block.startswith(f'name = "{name}"\n')]
    assert len(kept) == len(blocks) - 1
    poetry_lock.write_text("\n[[package]]\n".join(kept))


def test_build_without_lock(fork, docker_build):
    result = docker_build(fork(), "--target=locks", "--build-arg=TORCH_BUILD=cu999")
    assert result.code
    assert result.sentence == (
        "TORCH_BUILD=cu999 has no lock locks/torch.cu999.txt (there are: "
        f"{', '.join(build.builds())}): make it with `./crate lock --build cu999`."
    )


def test_lock_of_another_torch(edited, docker_build):
    folder = edited(f"locks/torch.{GPU}.txt", r"\ntorch===[\d.]+", r"\ntorch===0.1.0")
    result = docker_build(folder, "--target=locks")
    assert result.code
    assert re.fullmatch(
        rf"locks/torch.{GPU}.txt has torch 0.1.0 where poetry.lock has [\d.]+: "
        rf"run `./crate lock --build {GPU}`, then build again.",
        result.sentence,
    )


def test_outdated_poetry_lock(edited, docker_build):
    folder = edited("pyproject.toml", r"\ndependencies = \[", '\ndependencies = ["einops",')
    result = docker_build(folder, "--target=locks")
    assert result.code
    assert result.sentence == (
        "poetry.lock is out of date with pyproject.toml: run `./crate lock`, then build again."
    )


def test_bad_pyproject(edited, docker_build):
    folder = edited("pyproject.toml", r"\nrequires-python = .*", "\nrequires-python = 3.11")
    result = docker_build(folder, "--target=locks")
    assert result.code
    assert result.sentence == (
        "poetry.lock is out of date with pyproject.toml: run `./crate lock`, then build again."
    )


@pytest.mark.parametrize(
    ("name", "target"),
    [
        *[("APT_MIRROR", "base"), ("PPA_URL", "base")],
        *[("INDEX_URL", "tools"), ("TORCH_INDEX_URL", "locks")],
    ],
)
def test_password_in_address(fork, docker_build, name, target):
    result = docker_build(
        fork(), f"--target={target}", f"--build-arg={name}=https://me:secret@mirror.example/"
    )
    assert result.code
    assert "would stay readable in the image's history" in result.sentence
    assert "secret@" not in result.sentence


def test_wrong_hash(fork, docker_build, tmp_path):
    version = CPU_PINS["torch"]
    wheel = tmp_path / f"torch-{version}-py3-none-any.whl"
    info = f"torch-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    folder = fork()
    if "torchvision" in CPU_PINS:
        drop(folder / "poetry.lock", "torchvision")
    # Not the hash of the real wheel, which may be in uv's cache.
    lock = re.sub(r"\ntorchvision==(.|\n)*", "\n", (folder / "locks/torch.cpu.txt").read_text())
    (folder / "locks/torch.cpu.txt").write_text(
        re.sub("sha256:[0-9a-f]{64}", f"sha256:{0:064}", lock)
    )
    result = docker_build(
        folder, "--file=Dockerfile.cpu", "--target=torch", f"--build-context=wheels={tmp_path}"
    )
    assert result.code
    assert "a wheel does not have the digest that the lock names" in result.sentence


def test_changed_wheels_in_the_cache(fork, docker_build, tmp_path):
    """Any build may write to the cache: what another one changed is downloaded again."""
    folder = fork()
    dockerfile = folder / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace("id=wheels,", "id=changed,"))

    def saved():
        # Not with --no-cache-filter, which empties the cache.
        for script in ("uv.sh", "wheels.sh"):
            with (folder / "torchcrate/stages/install" / script).open("a") as file:
                file.write(f"# {tmp_path} {time.time_ns()}\n")
        result = docker_build(folder, "--target=settled")
        assert result.code == 0, result.output
        return set(re.findall(r"Saved \S*/(\S+\.whl)", result.output))

    wheels = saved()
    assert any(name.startswith("uv-") for name in wheels) and len(wheels) > 5
    assert saved() == set()
    mount = "--mount=type=cache,id=changed,target=/c"
    edit = f"for f in /c/*.whl; do echo >>$f; done; ls /c # {tmp_path}"
    text = "\n".join(("ARG BASE_IMAGE", "FROM $BASE_IMAGE", f"RUN {mount} {edit}"))
    (tmp_path / "Dockerfile").write_text(text)
    assert docker_build(tmp_path).code == 0
    assert saved() == wheels


def test_unreachable_index(fork, docker_build):
    folder = fork()
    lock = folder / "locks" / "torch.cpu.txt"
    # Hashes of no wheel, since an earlier build may have left its wheels in the cache.
    lock.write_text(re.sub("sha256:[0-9a-f]{64}", f"sha256:{0:064}", lock.read_text()))
    result = docker_build(
        folder,
        *("--file=Dockerfile.cpu", "--target=torch"),
        # Nothing answers on port 9, "discard".
        "--build-arg=TORCH_INDEX_URL=http://127.0.0.1:9",
    )
    assert result.code
    assert result.sentence.startswith(
        "locks/torch.cpu.txt was not installed: an index does not answer or lacks a wheel"
    )
    assert "--build-context wheels=FOLDER" in result.sentence


def test_missing_package(fork, docker_build):
    """Only both locks together show that a package is missing."""
    folder = fork()
    drop(folder / "poetry.lock", "mpmath")  # its content hash does not change
    result = docker_build(folder)
    assert result.code
    assert "sympy needs mpmath, which is not installed" in result.output
    assert result.sentence == (
        f"locks/torch.{GPU}.txt and poetry.lock do not fit together (see above): "
        "run `./crate lock`, then build again."
    )


SPOILT = {
    "has no apt to install Python 3.11 with": (
        "rm /usr/bin/apt-get && printf 'ID=alpine\\nPRETTY_NAME=\"Alpine Linux v3.22\"\\n'"
        " > /etc/os-release"
    ),
    "did not give a Python 3.11 package": "rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*",
}


@pytest.fixture
def spoilt_base(engine, base_image):
    """Return a function that runs a command in the base image and returns the image it gives."""
    tag = f"{REPOSITORY}:spoilt"

    def spoil(command):
        dockerfile = f"FROM {base_image}\nRUN {command}\n".encode()
        engine.images.build(fileobj=io.BytesIO(dockerfile), tag=tag, rm=True)
        return tag

    yield spoil
    engine.images.remove(tag, force=True)


@pytest.mark.parametrize("why", SPOILT)
def test_base_without_python(spoilt_base, fork, docker_build, why):
    tag = spoilt_base(SPOILT[why])
    result = docker_build(fork(), "--target=base", f"--build-arg=BASE_IMAGE={tag}")
    assert result.code
    assert result.sentence.startswith(f"BASE_IMAGE {tag} (")
    assert why in result.sentence
    assert result.sentence.endswith(
        "build with --build-arg BASE_IMAGE=ubuntu:22.04, ubuntu:24.04 or debian:12."
    )


def test_unreachable_ppa(spoilt_base, fork, docker_build):
    """It must not take Python from Ubuntu's own archive: on 22.04, that is a release candidate."""
    tag = spoilt_base("sed -i s/^ID=.*/ID=ubuntu/ /etc/os-release")
    result = docker_build(
        fork(),
        *("--target=base", f"--build-arg=BASE_IMAGE={tag}"),
        "--build-arg=PPA_URL=http://127.0.0.1:9/ubuntu",
    )
    assert result.code
    assert "Failed to fetch http://127.0.0.1:9/ubuntu" in result.output
    assert "did not give a Python 3.11 package" in result.sentence
