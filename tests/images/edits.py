"""Edits of a project, and what a mutation is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Edit = Callable[[Path, str], None]  # of a folder's files, and which Dockerfile is meant


@dataclass(frozen=True)
class Mutation:
    """What is broken, the test that must fail, and a part of what it must say then."""

    broken: str
    noticed: str
    says: str
    edits: tuple[Edit, ...] = ()
    real: bool = False  # with the real torch for the CPU, not a stub
    after: str = ""  # what is done to the project, in its folder, once the image is built


def replace(file: str, old: str, new: str = "") -> tuple[Edit, ...]:
    """Return the edit that replaces text in a file; `Dockerfile` means the one that is built."""

    def edit(folder: Path, dockerfile: str) -> None:
        path = folder / (dockerfile if file == "Dockerfile" else file)
        text = path.read_text()
        assert text.count(old), f"{file} has no {old!r}"
        path.write_text(text.replace(old, new, 1))

    return (edit,)


def at_end(stage: str, *lines: str) -> tuple[Edit, ...]:
    """Return the edit that adds lines to the end of a stage of the Dockerfile."""

    def edit(folder: Path, dockerfile: str) -> None:
        path = folder / dockerfile
        before, header, rest = path.read_text().partition(f"# ---- {stage}:")
        assert header, f"{dockerfile} has no stage {stage}"
        content, end, after = rest.partition("\n\n\n")
        path.write_text(
            "\n".join([before + header + content.rstrip(), *lines]) + end + after + "\n"
        )

    return (edit,)


def as_root(*lines: str) -> tuple[Edit, ...]:
    """Return the edit that adds lines to the end of `runtime`, for root to run."""
    return at_end("runtime", "USER root", *lines, "USER 10001:10001")
