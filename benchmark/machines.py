"""What the benchmark measures on: machines with a Docker Engine each, and the registry among them.

A machine here is an engine with a folder of its own: its own images, build cache and cache mounts.
Its image store is containerd's, Docker's default from version 29. The registry is Debian's
docker-registry on 127.0.0.1.
"""

import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import engine
from host import fail

SECTOR = 512  # bytes, what /proc/diskstats counts in


@dataclass
class Registry:
    """A registry on 127.0.0.1 that keeps its blobs in a folder and logs what it serves."""

    top: Path  # the folder with the engine's packages in root
    port: int = 0
    process: subprocess.Popen | None = None

    @property
    def host(self) -> str:
        """Its address in names of images."""
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
        for _ in range(100):
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
        """Delete an image with all its tags, and the blobs that no other has."""
        shutil.rmtree(self.top / "registry/docker/registry/v2/repositories" / name)
        program = self.top / "root/usr/bin/docker-registry"
        command = [program, "garbage-collect", self.top / "registry.json"]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)

    def stored(self) -> int:
        """Return the bytes of all blobs that it has."""
        blobs = (self.top / "registry").glob("docker/registry/v2/blobs/sha256/*/*/data")
        return sum(blob.stat().st_size for blob in blobs)

    def served(self) -> int:
        """Return the bytes of blobs that it has served since it was started."""
        total = 0
        for line in (self.top / "registry.log").read_text(errors="replace").splitlines():
            entry = json.loads(line) if line.startswith("{") else {}
            is_blob = "/blobs/sha256:" in entry.get("http.request.uri", "")
            if is_blob and entry.get("http.request.method") == "GET":
                total += int(entry.get("http.response.written", 0))
        return total


@dataclass
class Machine:
    """An engine in a folder of its own below `top`, empty when it is made."""

    top: Path
    name: str
    environment: dict = field(default_factory=dict)

    def start(self) -> None:
        """Start its engine."""
        folder = self.top / self.name
        folder.mkdir()
        (folder / "root").symlink_to("../root")
        self.environment = engine.private_environment(folder)
        engine.start(folder, self.environment, "--feature=containerd-snapshotter=true")

    def remove(self) -> None:
        """Stop its engine and delete all that it had."""
        folder = self.top / self.name
        if folder.exists():
            engine.stop(folder)
            shutil.rmtree(folder)

    def forget(self) -> None:
        """Forget all build steps; cache mounts stay."""
        self.docker("buildx", "prune", "--all", "--force", "--filter=type=regular")

    def docker(self, *words: str, log: Path | None = None) -> str:
        """Run `docker` and return what it prints. Ends the program where it fails."""
        done = subprocess.run(
            ["docker", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if log:
            log.write_text(done.stderr)  # where BuildKit says what it does
        if done.returncode:
            fail(f"`docker {' '.join(words[:3])} …` failed:\n{done.stderr[-3000:]}")
        return done.stdout.strip()


def written(folder: Path) -> int:
    """Return the bytes that the disk of a folder was told to write since the system came up."""
    device = folder.stat().st_dev
    numbers = (str(os.major(device)), str(os.minor(device)))
    for line in Path("/proc/diskstats").read_text().splitlines():
        words = line.split()
        if tuple(words[:2]) == numbers:
            return int(words[9]) * SECTOR
    return 0


def received() -> int:
    """Return the bytes that came in by the network, other than from this machine itself."""
    lines = Path("/proc/net/dev").read_text().splitlines()[2:]
    counts = {line.split(":")[0].strip(): int(line.split(":")[1].split()[0]) for line in lines}
    # Bridges and their ends see what the machine's own device has seen already.
    own = (n for n in counts if n != "lo" and not n.startswith(("docker", "veth", "br-")))
    return sum(counts[name] for name in own)


class Watch:
    """Measures what goes on inside a `with`: seconds, and bytes in a dictionary of figures."""

    def __init__(self, top: Path, registry: Registry) -> None:
        """Prepare to measure on the disk of `top` and at a registry."""
        self.top, self.registry = top, registry
        self.figures: dict[str, float] = {}

    def now(self) -> dict[str, int]:
        """Return all counters, in bytes."""
        os.sync()
        return {
            "written": written(self.top),
            "fetched": received(),
            "pushed": self.registry.stored(),
            "pulled": self.registry.served(),
        }

    def look(self) -> None:
        """Follow how full the disk is until the end."""
        while not self.ended.wait(0.5):
            self.fullest = max(self.fullest, shutil.disk_usage(self.top).used)

    def __enter__(self) -> "Watch":
        """Begin."""
        self.before = self.now()
        self.used = self.fullest = shutil.disk_usage(self.top).used
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()
        self.began = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        """End, and work out the figures."""
        seconds = time.monotonic() - self.began
        self.ended.set()
        self.thread.join()
        after = self.now()
        self.figures = {name: after[name] - self.before[name] for name in after}
        self.figures |= {"seconds": round(seconds, 2), "peak": self.fullest - self.used}
