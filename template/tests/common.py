"""What the template's tests share: names, and what fixtures return."""

import os
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

from torchcrate.host import TOP
from torchcrate.testing.images import SESSION

REPOSITORY = f"image-test-{SESSION}"  # of the tags of the tests' images
# The folders with the contract's tests: those of each project, and those for stubs only.
CONTRACT = (TOP / "tests/image", TOP / "template/stub_contract")
# A unit test holds it while it patches os.environ or functions of torchcrate, which threads share.
# Threads in the background hold it while they use those.
PATCHING = threading.RLock()


def unpatched() -> dict[str, str]:
    """Return the environment without a test's patches, and without make's variables."""
    with PATCHING:
        return {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}


@dataclass(frozen=True)
class Project:
    """A copy of the repository, and the arguments to build a kind of image from it."""

    folder: Path
    build: str
    arguments: tuple[str, ...] = ()  # for `docker build`
    lock_command: tuple[str, ...] = ("./crate", "lock")

    @property
    def dockerfile(self) -> str:
        """The name of the Dockerfile."""
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
