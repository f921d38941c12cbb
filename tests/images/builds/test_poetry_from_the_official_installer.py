"""`--build-arg POETRY_INSTALLER=official` runs the script at the URL, with the pinned version.

The scripts here stand in for the official one: they take the same environment variables and leave
the same folders. That of each commit installs no Poetry, but a program that knows its version.
"""

import http.server
import re
import threading

import pytest

from images import TOP

INSTALLER = """
import os, subprocess, venv
home, version = os.environ["POETRY_HOME"], os.environ["POETRY_VERSION"]
venv.create(home + "/venv", with_pip=True)
subprocess.run([home + "/venv/bin/pip", "install", "--quiet", "poetry==" + version], check=True)
os.mkdir(home + "/bin")
os.symlink("../venv/bin/poetry", home + "/bin/poetry")
"""
QUICK = """
import os, pathlib
poetry = pathlib.Path(os.environ["POETRY_HOME"], "bin", "poetry")
poetry.parent.mkdir(parents=True)
poetry.write_text(f"#!/bin/sh\\necho 'Poetry (version {os.environ['POETRY_VERSION']})'\\n")
poetry.chmod(0o755)
"""


@pytest.fixture
def url(engine):
    """Serve the installer on this machine and return its address."""
    if engine.info()["OperatingSystem"] == "Docker Desktop":
        pytest.skip("Docker Desktop's builds run in a virtual machine, which cannot reach this one")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):  # the library's name
            self.send_response(200)
            self.end_headers()
            self.wfile.write((QUICK if self.path == "/quick" else INSTALLER).encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def official(docker_build, folder, url, stage="tools"):
    return docker_build(
        folder,
        *(f"--target={stage}", "--network=host", "--allow=network.host"),
        *("--build-arg=POETRY_INSTALLER=official", f"--build-arg=POETRY_INSTALLER_URL={url}"),
    )


@pytest.mark.parametrize(
    ("script", "stage"),
    [("quick", "tools"), pytest.param("whole", "locks", marks=pytest.mark.slow)],
)
def test_it_installs_the_pinned_version(fork, docker_build, url, script, stage):
    result = official(docker_build, fork(), f"{url}/{script}", stage)
    assert result.code == 0, result.output
    pinned = re.search(r"^poetry==(\S+)", (TOP / "locks/poetry.txt").read_text(), re.M).group(1)
    assert f"Poetry (version {pinned})" in result.output


def test_an_address_that_does_not_answer(fork, docker_build):
    result = official(docker_build, fork(), "http://127.0.0.1:9/")
    assert result.code
    assert result.sentence == (
        "POETRY_INSTALLER_URL http://127.0.0.1:9/ does not answer; "
        "leave out --build-arg POETRY_INSTALLER=official to install locks/poetry.txt."
    )
