"""Every command refuses a password in an address, and none prints it."""

import os
import subprocess
import sys

import pytest

from template.tests.common import TOP, unpatched
from torchcrate import host

ADDRESS = "https://user:sesame@127.0.0.1:9/simple"
COMMANDS = (
    *("add einops", "remove tqdm", "lock", "venv --build cpu", "run", "image", "doctor"),
    *("shell", "reproduce", "contract --build cpu a", "test", "test-fast", "lint", "check"),
)


def crate(*words, **variables):
    """Run ./crate with more variables. It must fail and print no password. Return its output."""
    # An engine that is not there: were an address taken, nothing would be built all the same.
    environment = {k: v for k, v in unpatched().items() if k != "INDEX_URL"}
    environment |= {**variables, "DOCKER_HOST": "unix:///nowhere"}
    command = [sys.executable, "crate", *words]
    done = subprocess.run(command, cwd=TOP, env=environment, capture_output=True, text=True)
    assert done.returncode, done.stdout
    assert "sesame" not in done.stdout + done.stderr
    return done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_in_an_index(command):
    said = crate(*command.split(), INDEX_URL=ADDRESS)
    assert "ERROR: INDEX_URL holds a user or a password" in said


@pytest.mark.parametrize("command", ["add einops", "run"])
@pytest.mark.parametrize("name", ["PIP_INDEX_URL", *host.ADDRESSES[1:]])
def test_in_another_address(command, name):
    assert f"ERROR: {name} holds a user or a password" in crate(*command.split(), **{name: ADDRESS})


def test_in_pips_configuration(monkeypatch):
    monkeypatch.delenv("INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.setattr(host, "pip", lambda *_: f"global.index-url='{ADDRESS}'\n")
    with pytest.raises(SystemExit, match="index-url in pip's configuration holds a user") as error:
        host.index_url()
    assert "sesame" not in str(error.value)


def test_in_what_is_added():
    assert "holds a user or a password" in crate("add", f"git+{ADDRESS}/x.git")


@pytest.mark.parametrize(
    ("said", "printed"),
    [
        (f"error: {ADDRESS} does not answer", "error: https://***@127.0.0.1:9/simple does not"),
        ("proxy http://me@proxy:3128", "proxy http://***@proxy:3128"),
        ("git+https://x.example/a.git@v1", "git+https://x.example/a.git@v1"),
        ("Me <me@x.example>", "Me <me@x.example>"),
    ],
)
def test_it_is_masked(said, printed, capfd):
    assert host.masked(said).startswith(printed)
    assert host.run([sys.executable, "-c", f"print({said!r})"], env=dict(os.environ)) == 0
    assert capfd.readouterr().out.startswith(printed)
    with pytest.raises(SystemExit) as error:
        host.fail(said)
    assert printed in str(error.value)
