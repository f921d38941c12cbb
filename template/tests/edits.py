"""Edits of a project, and the class of mutations."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Edit = Callable[[Path, str], None]  # (folder, name of its Dockerfile)


@dataclass(frozen=True)
class Mutation:
    """What is broken, the test that must fail, and a part of what the test must say.

    For a test with parameters any of them may fail, unless one is named in brackets.
    """

    broken: str
    noticed: str
    says: str
    edits: tuple[Edit, ...] = ()
    real: bool = False  # with the real torch for the CPU, not a stub
    after: str = ""  # a shell command in the project's folder, after the build
    apart: str = ""  # why it needs another image; those with the same reason share one


def together(mutations: list[Mutation], several: set[str]) -> list[list[Mutation]]:
    """Divide the mutations of a stage among few images, so that none hides another.

    A test names one reason, so an image has one mutation for it, unless the test is in `several`:
    those tests name all that they find.
    """
    images: list[list[Mutation]] = []
    for one in mutations:
        for image in images:
            alike = (one.real, one.apart) == (image[0].real, image[0].apart)
            if alike and (one.noticed in several or one.noticed not in {m.noticed for m in image}):
                image.append(one)
                break
        else:
            images.append([one])
    return images


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
    """Return the edit that adds lines to the end of `runtime`, run as root."""
    return at_end("runtime", "USER root", *lines, "USER 10001:10001")
