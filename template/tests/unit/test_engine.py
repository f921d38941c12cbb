"""A missing or old engine gives one sentence, and no other process is touched."""

import os
import tempfile
from argparse import Namespace
from pathlib import Path

import pytest

from template import engine
from torchcrate import engine as docker_engine


@pytest.mark.parametrize("text, found", [("28.5.2+dfsg4", (28, 5)), ("v0.29.1", (0, 29))])
def test_numbers(text, found):
    assert docker_engine.numbers(text) == found


def test_new_enough():
    docker_engine.check_version("23.0.1", "github.com/docker/buildx v0.19.0 542e5d8")


@pytest.mark.parametrize(
    "server, buildx, words",
    [
        (
            "20.10.24",
            "buildx 0.29.1",
            "Docker Engine 20.10.24 is too old .* install Docker Engine 23",
        ),
        ("28.5.2", None, "docker has no buildx: install 0.19 or newer"),
        ("28.5.2", "buildx v0.8.0", "docker has buildx 0.8.0: install 0.19 or newer"),
    ],
)
def test_too_old(server, buildx, words):
    with pytest.raises(SystemExit, match=f"ERROR: {words}"):
        docker_engine.check_version(server, buildx)


@pytest.fixture(autouse=True)
def no_engine(monkeypatch):
    """Pretend that this machine has no Docker."""
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(engine, "version", lambda environment: None)
    monkeypatch.setattr(docker_engine, "version", lambda environment: None)
    monkeypatch.setattr(docker_engine, "complaint", lambda environment: "")
    monkeypatch.setattr(engine.shutil, "which", lambda name: None)


def test_no_engine_and_not_root(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("ENGINE_DIR", str(tmp_path / "engine"))
    with pytest.raises(
        SystemExit, match="ERROR: no Docker Engine answers: install Docker Engine 23"
    ):
        engine.prepare()
    assert not (tmp_path / "engine").exists()


@pytest.mark.parametrize("where", ["this machine", "tcp://elsewhere:2375"])
def test_stopped_engine(monkeypatch, where):
    if where == "this machine":
        monkeypatch.setattr(engine.shutil, "which", lambda name: "/usr/bin/dockerd")
    else:
        monkeypatch.setenv("DOCKER_HOST", where)
    with pytest.raises(SystemExit, match=f"ERROR: the Docker Engine of {where} does not answer"):
        engine.prepare()


def test_permission_denied(monkeypatch):
    monkeypatch.setattr(
        docker_engine, "complaint", lambda environment: "permission denied while trying"
    )
    with pytest.raises(SystemExit, match="ERROR: the Docker Engine does not let this user in: add"):
        engine.prepare()


def test_another_system(monkeypatch):
    monkeypatch.setattr(engine, "os_release", lambda: {"ID": "fedora", "VERSION_CODENAME": ""})
    with pytest.raises(SystemExit, match="ERROR: no Docker Engine answers"):
        engine.prepare()


def test_folder_too_deep(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(engine, "os_release", lambda: {"ID": "debian", "VERSION_CODENAME": "x"})
    monkeypatch.setattr(engine.shutil, "which", {"apt-get": "/usr/bin/apt-get"}.get)
    monkeypatch.setenv("ENGINE_DIR", str(tmp_path / ("deep" * 30)))
    with pytest.raises(SystemExit, match="is too long for a socket's path: name a shorter one"):
        engine.prepare()


def test_pid_of_another_process(tmp_path):
    pid_file = tmp_path / "pid"
    pid_file.write_text(str(os.getpid()))
    assert engine.ours(pid_file, tmp_path / "engine") is None
    pid_file.write_text("not a number")
    assert engine.ours(pid_file, tmp_path) is None
    assert engine.ours(tmp_path / "missing", tmp_path) is None


SOURCES = {
    "Types: deb\nURIs: http://mirror.example/debian\nSuites: x": "http://mirror.example/debian",
    "deb [arch=amd64] https://mirror.example/debian/ x main": "https://mirror.example/debian/",
    "# deb http://old.example/debian x main\ndeb http://new.example/debian x main": (
        "http://new.example/debian"
    ),
    "deb https://download.docker.com/linux/debian x stable\ndeb http://a.example/debian x main": (
        "http://a.example/debian"
    ),
    "deb http://security.example/debian-security x main\ndeb http://a.example/debian x main": (
        "http://a.example/debian"
    ),
}


@pytest.mark.parametrize("text, found", SOURCES.items())
def test_archive(monkeypatch, text, found):
    monkeypatch.setattr(engine.Path, "glob", lambda *_: iter(()))
    monkeypatch.setattr(engine.Path, "is_file", lambda _: True)
    monkeypatch.setattr(engine.Path, "read_text", lambda _: text)
    assert engine.archive({"ID": "debian"}) == found


def test_remove_leaves_other_files(tmp_path):
    top = tmp_path / "engine"
    engine.claim(top)
    (top / "data").mkdir()
    (top / "mine").touch()
    engine.remove(top)
    assert [path.name for path in top.iterdir()] == ["mine"]
    (top / "mine").unlink()
    engine.remove(top)
    assert not top.exists()


@pytest.fixture
def short_path():
    """Return a folder with a path short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="e.") as folder:
        yield Path(folder)


@pytest.mark.parametrize("command", ["start", "stop", "remove", "daemon", "bootstrap"])
def test_another_folder(monkeypatch, short_path, command):
    """Other files in ENGINE_DIR stay, and so does another folder with the engine's name."""
    tmp_path = short_path
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(engine, "os_release", lambda: {"ID": "debian", "VERSION_CODENAME": "x"})
    monkeypatch.setattr(engine.shutil, "which", {"apt-get": "/usr/bin/apt-get"}.get)
    monkeypatch.setenv("ENGINE_DIR", str(tmp_path))
    top = engine.folder()
    assert top.parent == tmp_path
    for name in ("bin", "data", "root"):
        (tmp_path / name).mkdir()
        (top / name).mkdir(parents=True)
        (top / name / "mine").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit, match="is not empty, and no private engine made it: move"):
        if command == "daemon":
            engine.start(top, engine.private_environment(top))
        elif command == "bootstrap":
            engine.bootstrap({}, "an-image")
        else:
            engine.main(Namespace(action=command))
    assert sorted(tmp_path.rglob("*")) == before


def test_stop_twice(tmp_path):
    (tmp_path / "dockerd.pid").write_text(str(os.getpid()))
    engine.stop(tmp_path)  # this process goes on running
    assert not (tmp_path / "dockerd.pid").exists()
