"""What the tests of images share: names, and the image that a test is about."""

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from torchcrate.host import argument

# The label of this session's containers and images.
SESSION = os.environ.get("TEST_SESSION") or uuid.uuid4().hex[:12]
LABEL = f"image-test={SESSION}"
# For each container: no GPU (NVIDIA's runtime, if it is the default, would give it one) and one
# thread. Torch's threads spin while they wait, and that takes minutes on a busy machine.
ENVIRONMENT = ("NVIDIA_VISIBLE_DEVICES=void", "OMP_NUM_THREADS=1")
# Each secret in the tests' builds begins with this. The rest names its place.
CANARY = "image-canary"

# How users run images: the options of `docker run`.
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
    build_args: tuple[str, ...] = ()  # NAME=VALUE, if not the Dockerfile's default

    def build_arg(self, name: str) -> str:
        """Return the value of a build argument: the one given, or the Dockerfile's default."""
        for given in self.build_args:
            if given.partition("=")[0] == name:
                return given.partition("=")[2]
        return argument(name, self.project)
