"""Measure seconds, processor time, bytes, and how full the disk is."""

import os
import shutil
import threading
import time
from pathlib import Path

from template.machines import Registry

SECTOR = 512  # bytes; /proc/diskstats counts in sectors


def written(folder: Path) -> int:
    """Return how many bytes were written to a folder's disk since the system started."""
    device = folder.stat().st_dev
    numbers = (str(os.major(device)), str(os.minor(device)))
    for line in Path("/proc/diskstats").read_text().splitlines():
        words = line.split()
        if tuple(words[:2]) == numbers:
            return int(words[9]) * SECTOR
    return 0


def received() -> int:
    """Return how many bytes came in from the network, other than from this machine itself."""
    lines = Path("/proc/net/dev").read_text().splitlines()[2:]
    counts = {line.split(":")[0].strip(): int(line.split(":")[1].split()[0]) for line in lines}
    # Bridges and veth pairs repeat the traffic of the machine's own device.
    own = (n for n in counts if n != "lo" and not n.startswith(("docker", "veth", "br-")))
    return sum(counts[name] for name in own)


def busy() -> float:
    """Return the seconds that this machine's processors have worked since it started."""
    user, nice, system, _idle, _waiting, interrupts, soft = (
        int(word) for word in Path("/proc/stat").read_text().split()[1:8]
    )
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")


class Watch:
    """Measures what happens inside a `with`; `figures` has seconds and bytes."""

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
        """Note how full the disk is at most, until the end."""
        while not self.ended.wait(0.5):
            self.fullest = max(self.fullest, shutil.disk_usage(self.top).used)

    def __enter__(self) -> "Watch":
        """Begin."""
        self.before = self.now()
        self.used = self.fullest = shutil.disk_usage(self.top).used
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()
        self.worked, self.began = busy(), time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        """End, and calculate the figures."""
        seconds, worked = time.monotonic() - self.began, busy() - self.worked
        self.ended.set()
        self.thread.join()
        after = self.now()
        self.figures = {name: after[name] - self.before[name] for name in after}
        self.figures |= {
            "seconds": round(seconds, 2),
            "cpu": round(worked, 2),
            "peak": self.fullest - self.used,
        }
