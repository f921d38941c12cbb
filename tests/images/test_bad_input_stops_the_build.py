"""Each mistake stops the build with one sentence that names the file or argument and the remedy."""

import io
import re
import zipfile

import pytest


@pytest.fixture
def edited(fork):
    """Return a function that copies the repository and replaces text in one of its files."""

    def edit(name, old, new):
        folder = fork()
        text = (folder / name).read_text()
        assert re.search(old, text), f"{name} has no {old}"
        (folder / name).write_text(re.sub(old, new, text))
        return folder

    return edit


def drop(poetry_lock, name):
    """Take a package out of a poetry.lock."""
    blocks = poetry_lock.read_text().split("\n[[package]]\n")
    kept = [block for block in blocks if not block.startswith(f'name = "{name}"\n')]
    assert len(kept) == len(blocks) - 1
    poetry_lock.write_text("\n[[package]]\n".join(kept))


def test_a_build_without_a_lock(fork, docker_build):
    result = docker_build(fork(), "--target=locks", "--build-arg=TORCH_BUILD=cu999")
    assert result.code
    assert result.sentence == (
        "TORCH_BUILD=cu999 has no lock locks/torch.cu999.txt (there are: cpu, cu130): "
        "make it with `make lock BUILD=cu999`."
    )


def test_a_lock_of_another_torch(edited, docker_build):
    folder = edited("locks/torch.cu130.txt", r"\ntorch==[\d.]+", r"\ntorch==2.12.0")
    result = docker_build(folder, "--target=locks")
    assert result.code
    assert re.fullmatch(
        r"locks/torch.cu130.txt has torch 2.12.0 where poetry.lock has [\d.]+: "
        r"run `make lock BUILD=cu130`, then build again.",
        result.sentence,
    )


def test_a_poetry_lock_that_is_out_of_date(edited, docker_build):
    folder = edited("pyproject.toml", r'"tqdm \(', '"einops (>=0.8)", "tqdm (')
    result = docker_build(folder, "--target=locks")
    assert result.code
    assert result.sentence == (
        "poetry.lock is out of date with pyproject.toml: run `make lock`, then build again."
    )


def test_a_password_in_a_mirrors_address(fork, docker_build):
    result = docker_build(
        fork(), "--target=locks", "--build-arg=TORCH_INDEX_URL=https://me:secret@mirror.example/"
    )
    assert result.code
    assert "--secret id=netrc" in result.sentence
    assert "secret@" not in result.sentence


def test_a_wheel_with_a_wrong_digest(fork, docker_build, tmp_path):
    wheel = tmp_path / "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"
    info = "torch-2.13.0+cpu.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0+cpu\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    folder = fork()
    drop(folder / "poetry.lock", "torchvision")
    # Another digest than the real wheel's, which uv may have in its cache.
    lock = re.sub(r"\ntorchvision==(.|\n)*", "\n", (folder / "locks/torch.cpu.txt").read_text())
    (folder / "locks/torch.cpu.txt").write_text(
        re.sub("sha256:[0-9a-f]{64}", f"sha256:{0:064}", lock)
    )
    result = docker_build(
        folder, "--file=Dockerfile.cpu", "--target=torch", f"--build-context=wheels={tmp_path}"
    )
    assert result.code
    assert "a wheel does not have the digest that the lock names" in result.sentence


def test_an_index_that_does_not_answer(fork, docker_build):
    result = docker_build(
        fork(),
        *("--file=Dockerfile.cpu", "--target=torch"),
        # Port 9, "discard", answers nobody.
        "--build-arg=TORCH_INDEX_URL=http://127.0.0.1:9",
    )
    assert result.code
    assert result.sentence.startswith(
        "locks/torch.cpu.txt was not installed: an index does not answer or lacks a wheel"
    )
    assert "--build-context wheels=FOLDER" in result.sentence


def test_trees_that_do_not_fit(fork, docker_build):
    """Only both trees together show that something is missing."""
    folder = fork()
    drop(folder / "poetry.lock", "mpmath")
    result = docker_build(folder)
    assert result.code
    assert "sympy needs mpmath, which is not installed" in result.output
    assert result.sentence == (
        "locks/torch.cu130.txt and poetry.lock do not fit together (see above): "
        "run `make lock`, then build again."
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
    tag = "torchcrate-test:spoilt"

    def spoil(command):
        dockerfile = f"FROM {base_image}\nRUN {command}\n".encode()
        engine.images.build(fileobj=io.BytesIO(dockerfile), tag=tag, rm=True)
        return tag

    yield spoil
    engine.images.remove(tag, force=True)


@pytest.mark.parametrize("why", SPOILT)
def test_a_base_without_python(spoilt_base, fork, docker_build, why):
    tag = spoilt_base(SPOILT[why])
    result = docker_build(fork(), "--target=base", f"--build-arg=BASE_IMAGE={tag}")
    assert result.code
    assert result.sentence.startswith(f"BASE_IMAGE {tag} (")
    assert why in result.sentence
    assert result.sentence.endswith(
        "build with --build-arg BASE_IMAGE=ubuntu:22.04, ubuntu:24.04 or debian:12."
    )


def test_an_ubuntu_whose_ppa_does_not_answer(spoilt_base, fork, docker_build):
    """It must not fall back to what the base's own archive has, on 22.04 a release candidate."""
    tag = spoilt_base("sed -i s/^ID=.*/ID=ubuntu/ /etc/os-release")
    result = docker_build(
        fork(),
        *("--target=base", f"--build-arg=BASE_IMAGE={tag}"),
        "--build-arg=PPA_URL=http://127.0.0.1:9/ubuntu",
    )
    assert result.code
    assert "Failed to fetch http://127.0.0.1:9/ubuntu" in result.output
    assert "did not give a Python 3.11 package" in result.sentence


def test_an_unknown_poetry_installer(fork, docker_build):
    result = docker_build(fork(), "--target=builder", "--build-arg=POETRY_INSTALLER=pipx")
    assert result.code
    assert result.sentence == (
        "POETRY_INSTALLER is 'pipx'; "
        "build with --build-arg POETRY_INSTALLER=locked (the default) or official."
    )
