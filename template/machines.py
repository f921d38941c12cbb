"""Test machines, each with its own Docker Engine, and a registry for them.

A machine is an engine in its own folder, with its own images, build cache and cache mounts. It uses
containerd's image store, the default since Docker 29. The registry is Debian's docker-registry on
127.0.0.1. `./crate ci` runs the workflows on them, `./crate bench` the benchmark.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from template import engine
from torchcrate.host import fail


@dataclass
class Registry:
    """A registry on 127.0.0.1 that keeps its blobs in a folder and logs what it serves."""

    top: Path  # the folder with the engine's packages in root
    port: int = 0
    process: subprocess.Popen | None = None

    @property
    def host(self) -> str:
        """Its address in image names."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it on a free port and wait until it answers."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        settings = {
            "version": 0.1,
            "log": {"formatter": "json", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(self.top / "registry")}},
            "http": {"addr": self.host},
        }
        (self.top / "registry.json").write_text(json.dumps(settings))  # JSON is YAML
        with (self.top / "registry.log").open("wb") as log:
            self.process = subprocess.Popen(
                [self.top / "root/usr/bin/docker-registry", "serve", self.top / "registry.json"],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://{self.host}/v2/", timeout=5).close()
                return
            except OSError:
                time.sleep(0.1)
        fail(f"the registry did not start: {(self.top / 'registry.log').read_text()[-500:]}")

    def stop(self) -> None:
        """End it."""
        if self.process:
            self.process.terminate()
            self.process.wait()

    def forget(self, name: str) -> None:
        """Delete an image with all its tags, and the blobs that no other image uses."""
        shutil.rmtree(self.top / "registry/docker/registry/v2/repositories" / name)
        program = self.top / "root/usr/bin/docker-registry"
        command = [program, "garbage-collect", self.top / "registry.json"]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)

    def stored(self) -> int:
        """Return the total size of its blobs in bytes."""
        blobs = (self.top / "registry").glob("docker/registry/v2/blobs/sha256/*/*/data")
        return sum(blob.stat().st_size for blob in blobs)

    def served(self) -> int:
        """Return how many bytes of blobs it has served since its start."""
        total = 0
        for line in (self.top / "registry.log").read_text(errors="replace").splitlines():
            entry = json.loads(line) if line.startswith("{") else {}
            is_blob = "/blobs/sha256:" in entry.get("http.request.uri", "")
            if is_blob and entry.get("http.request.method") == "GET":
                total += int(entry.get("http.response.written", 0))
        return total


@dataclass
class Machine:
    """An engine in its own folder below `top`, without images or build cache at first."""

    top: Path
    name: str
    environment: dict = field(default_factory=dict)

    def start(self) -> None:
        """Start its engine."""
        folder = self.top / self.name
        engine.claim(folder)
        (folder / "root").symlink_to("../root")
        self.environment = engine.private_environment(folder)
        engine.start(folder, self.environment, "--feature=containerd-snapshotter=true")

    def remove(self) -> None:
        """Stop its engine and delete its folder."""
        folder = self.top / self.name
        if folder.exists():
            engine.stop(folder)
            shutil.rmtree(folder)

    def forget(self) -> None:
        """Delete all cached build steps; cache mounts stay."""
        self.docker("buildx", "prune", "--all", "--force", "--filter=type=regular")

    def docker(self, *words: str, log: Path | None = None) -> str:
        """Run `docker` and return its output. Ends the program if it fails."""
        done = subprocess.run(
            ["docker", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if log:
            log.write_text(done.stderr)  # BuildKit's progress
        if done.returncode:
            fail(f"`docker {' '.join(words[:3])} …` failed:\n{done.stderr[-3000:]}")
        return done.stdout.strip()


@contextmanager
def lent(top: Path, name: str, machine: Machine | None) -> Iterator[Machine]:
    """Yield `machine`, or else a new one that is removed afterwards."""
    if machine:
        yield machine
        return
    machine = Machine(top, name)
    machine.start()
    try:
        yield machine
    finally:
        machine.remove()


def base_image(
    top: Path, registry: Registry, machine: Machine | None = None, debian: str = "debian:12"
) -> str:
    """Push Debian 12, the base image, to the registry and return its name there.

    `machine` pushes it, or else a new one. It uses the image `debian` if there is one.
    """
    name = f"{registry.host}/base:12"
    with lent(top, "base", machine) as machine:
        quiet = partial(engine.quiet, environment=machine.environment)
        there = quiet(["docker", "image", "inspect", debian]) or quiet(["docker", "pull", debian])
        if there is None:
            engine.bootstrap(machine.environment, debian)
        machine.docker("tag", debian, name)
        machine.docker("push", "--quiet", name)
        machine.docker("image", "rm", name)
    return name
