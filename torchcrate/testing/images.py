"""What the tests about images have in common: names, and the image that a test is about."""

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from torchcrate.host import argument

# Of this session: by it the containers and images are known that the tests made.
SESSION = os.environ.get("TEST_SESSION") or uuid.uuid4().hex[:12]
LABEL = f"image-test={SESSION}"
# For each container. Where NVIDIA's is Docker's default runtime it would hand the GPUs over. And
# torch's threads, one for each core, wait for each other by spinning, which on a busy machine makes
# minutes of seconds.
ENVIRONMENT = ("NVIDIA_VISIBLE_DEVICES=void", "OMP_NUM_THREADS=1")
# What the builds are handed as a secret, in each place with other words behind it.
CANARY = "image-canary"

# Where users run images: the options of `docker run`.
PLACES = {
    "plain": (),
    "any uid": ("--user=12345:12345",),
    "read-only root": ("--read-only", "--tmpfs=/tmp"),
    "no rights": ("--cap-drop=ALL", "--security-opt=no-new-privileges"),
    "no network": ("--network=none",),
}
PLACES["all at once"] = tuple(option for options in PLACES.values() for option in options)


@dataclass(frozen=True)
class Image:
    """An image and what it was made from."""

    tag: str
    stage: str  # base, runtime or dev
    build: str  # the torch build, such as cu130 or cpu
    project: Path  # the folder with its pyproject.toml and locks
    build_args: tuple[str, ...] = ()  # NAME=VALUE, where not the Dockerfile's own

    def build_arg(self, name: str) -> str:
        """Return the value of a build argument: the one given, or the Dockerfile's default."""
        for given in self.build_args:
            if given.partition("=")[0] == name:
                return given.partition("=")[2]
        return argument(name, self.project)
