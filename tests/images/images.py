"""What the tests about images have in common: names, and the things that fixtures hand out."""

import os
import re
import subprocess
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
# For pytest: these tests have their settings to themselves, whatever pyproject.toml says of others.
CONFIG = ("-c", "tests/images/pytest.ini", "--rootdir=.")
# Of this session: by it the containers and images are known that the tests made.
SESSION = os.environ.get("TEST_SESSION") or uuid.uuid4().hex[:12]
LABEL = f"image-test={SESSION}"
REPOSITORY = f"image-test-{SESSION}"  # of the tags of the tests' images
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

# A test of unit/ holds it while it patches what threads share: os.environ, functions of scripts/.
# What works in the background holds it while it reads or calls those.
PATCHING = threading.RLock()


def unpatched() -> dict[str, str]:
    """Return the environment without what a test has patched, and without what make adds."""
    with PATCHING:
        return {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}


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
        dockerfile = (self.project / "Dockerfile").read_text()
        return re.search(rf"^ARG {name}=(.*)$", dockerfile, re.MULTILINE).group(1)


@dataclass(frozen=True)
class Project:
    """A copy of the repository, and what it takes to build a kind of image from it."""

    folder: Path
    build: str
    arguments: tuple[str, ...] = ()  # for `docker build`
    lock_command: tuple[str, ...] = ("make", "lock")

    @property
    def dockerfile(self) -> str:
        """The Dockerfile of its kind of image."""
        return "Dockerfile.cpu" if self.build == "cpu" else "Dockerfile"

    def lock(self) -> None:
        """Bring its locks up to date, as a user would."""
        done = subprocess.run(
            self.lock_command, cwd=self.folder, env=unpatched(), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


@dataclass(frozen=True)
class Result:
    """How one `docker build` ended."""

    code: int
    output: str

    @property
    def sentence(self) -> str:
        """The one sentence that stopped the build, without BuildKit's words around it."""
        found = {line.partition("ERROR: ")[2] for line in self.output.splitlines()}
        found = {s for s in found if s and not s.startswith(("process ", "failed to "))}
        assert len(found) == 1, f"not one sentence but {found} in:\n{self.output}"
        return found.pop()
