"""`./crate lock-digests` locks a torch build from a list of digests."""

from functools import partial

import pytest

from template import digests
from template.tests.unit.test_lock import poetry_lock
from torchcrate import lock
from torchcrate.stages.locks import split_locks
from torchcrate.stages.locks.split_locks import LockError


@pytest.fixture
def file(tmp_path, monkeypatch):
    file = tmp_path / "digests.toml"
    file.write_text(
        "\n".join(
            f'[[wheel]]\nname="torch"\nversion="{version}"\nplatform="manylinux_2_28_{machine}"\n'
            f'sha256="{digest}"'
            for version, machine, digest in [
                ("1.0+cpu", "x86_64", "1" * 64),
                ("1.0+cpu", "aarch64", "2" * 64),
                ("1.0+cu118", "x86_64", "3" * 64),
                ("0.9+cpu", "x86_64", "4" * 64),
            ]
        )
    )
    monkeypatch.setattr(lock, "from_index", partial(digests.from_digests, file))
    return file


def test_wheels_of_build_and_version(file):
    text = lock.torch_lock("cpu", poetry_lock(torch="1.0"), None)
    assert text == (
        "--index-url https://download.pytorch.org/whl/cpu\n"
        "# The torch family of build cpu, made by `./crate lock`. Do not edit.\n"
        f"torch===1.0+cpu \\\n    --hash=sha256:{'1' * 64} \\\n    --hash=sha256:{'2' * 64}\n"
    )


def test_triton(file):
    wheel = '\n[[wheel]]\nname="triton"\nversion="2.0"\nplatform="linux_x86_64"\nsha256="{}"'
    file.write_text(file.read_text() + wheel.format("5" * 64))
    poetry = poetry_lock(torch="1.0", triton="2.0")
    poetry["package"][0]["dependencies"]["triton"] = "2.0"
    text = lock.torch_lock("cu118", poetry, None)
    assert split_locks.pins(text) == {"torch": "1.0+cu118", "triton": "2.0"}
    assert f"--hash=sha256:{'5' * 64}" in text


def test_missing_digest(file):
    with pytest.raises(LockError, match="has no digest of torchvision for cpu"):
        lock.torch_lock("cpu", poetry_lock(torch="1.0", torchvision="0.1"), None)


@pytest.mark.parametrize("text", ["no [toml", "wheel = 1", "[[wheel]]\nname = 'torch'"])
def test_invalid_list(tmp_path, text):
    file = tmp_path / "digests.toml"
    file.write_text(text)
    with pytest.raises(LockError, match="digests.toml is not a list of digests"):
        digests.from_digests(file, "cpu", poetry_lock(torch="1.0"))


def test_no_list(tmp_path):
    with pytest.raises(LockError, match="digests.toml is not a list of digests"):
        digests.from_digests(tmp_path / "digests.toml", "cpu", poetry_lock(torch="1.0"))
