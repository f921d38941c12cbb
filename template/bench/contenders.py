"""The three images that the benchmark builds, each from the same project in a folder of its own."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import tomlkit
from packaging import tags
from packaging.utils import parse_wheel_filename

from template.machines import Machine
from torchcrate import build as build_script
from torchcrate import host
from torchcrate.host import TOP, fail
from torchcrate.stages.locks import split_locks

HERE = TOP / "template/bench"
FAMILY = ("torch", "torchvision", "torchaudio")
# Small packages in Python alone, which need no other: for one edit of the dependencies each.
SMALL = ("einops", "tomlkit")
# The versions that torch is bumped to: the next ones of the build that locks/ has.
BUMP = {"torch": "2.14.1", "torchvision": "0.29.1"}


def run(*command: str | Path, folder: Path) -> None:
    """Run a command in a folder, and end the program where it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        fail(f"`{' '.join(map(str, command))}` failed:\n{done.stdout}{done.stderr}")


def bumped(need: str) -> str:
    """Return a requirement, with the version of BUMP if that has its package."""
    name = re.match(r"[\w.-]*", need).group()
    return f"{name} (=={BUMP[name]})" if name in BUMP else need


@dataclass
class Contender:
    """A way to build the image: a folder, its Dockerfile and what its author does for an edit."""

    name: str
    folder: Path
    build: str  # the torch build
    wheels: Path | None  # a folder to take torch from

    def prepare(self) -> None:
        """Fill the folder with the project, as this way of building it has it."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--", ":!template/bench", ":!template/examples"],
            cwd=TOP,
            stdout=subprocess.PIPE,
            check=True,
        )
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (TOP / name).is_file():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(TOP / name, self.folder / name)
        (self.folder / "tests").mkdir()
        (self.folder / ".tools").symlink_to(TOP / ".tools")
        document = self.pyproject()
        needs = document["project"]["dependencies"]
        if self.wheels:  # that has torch alone
            for need in [need for need in needs if need.startswith(FAMILY[1:])]:
                needs.remove(need)
        del document["dependency-groups"]["image"]
        document["tool"]["poetry"].pop("group", None)
        self.write(document)
        self.shape()
        self.lock()

    def pyproject(self) -> tomlkit.TOMLDocument:
        """Return the folder's pyproject.toml."""
        return tomlkit.parse((self.folder / "pyproject.toml").read_text())

    def write(self, document: tomlkit.TOMLDocument) -> None:
        """Write the folder's pyproject.toml."""
        (self.folder / "pyproject.toml").write_text(tomlkit.dumps(document))

    def shape(self) -> None:
        """Make of the repository's files what this way of building needs."""

    def lock(self) -> None:
        """Bring the folder's locks up to date."""
        raise NotImplementedError

    def edit_code(self) -> None:
        """Change a line of code."""
        file = next((self.folder / "src").glob("*/__init__.py"))
        file.write_text(file.read_text() + "\n# an edit\n")

    def add(self, package: str) -> None:
        """Name a package in pyproject.toml."""
        document = self.pyproject()
        document["project"]["dependencies"].append(package)
        self.write(document)

    def bump(self) -> None:
        """Name another version of torch in pyproject.toml."""
        document = self.pyproject()
        needs = document["project"]["dependencies"]
        for number, need in enumerate(needs):
            needs[number] = bumped(need)
        if document == self.pyproject():
            fail(f"{self.folder}/pyproject.toml has {BUMP} already: name the next ones in BUMP.")
        self.write(document)

    def torch(self) -> list[str]:
        """Return the requirements that name torch and its sisters."""
        dependencies = self.pyproject()["project"]["dependencies"]
        return [need for need in dependencies if re.match(rf"({'|'.join(FAMILY)})\b", need)]

    def arguments(self) -> list[str]:
        """Return the options of `docker buildx build` beside those that all have."""
        return []

    def run(self, machine: Machine, base: str, log: Path, *options: str) -> None:
        """Build on a machine, from an image as base."""
        command = ["buildx", "build", "--progress=plain", "--provenance=false"]
        command += [f"--build-arg=BASE_IMAGE={base}", f"--build-arg=INDEX_URL={host.index_url()}"]
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
            value = os.environ.get(name) or os.environ.get(name.lower())
            command += [f"--build-arg={name}={value}"] if value else []
        command += [f"--secret=id=ca,src={host.ca_bundle()}"]
        command += [f"--build-context=wheels={self.wheels or self.folder / 'tests'}"]
        machine.docker(*command, *self.arguments(), *options, str(self.folder), log=log)


class Article(Contender):
    """The article's shape: Poetry for the dependencies, pip for torch."""

    def shape(self) -> None:
        """Take torch out of pyproject.toml, for pip has it, and put in what it needs beside it."""
        for name in ("apt", "locks", "template", "torchcrate", "docs", "Dockerfile.cpu"):
            path = self.folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copy(HERE / "article.Dockerfile", self.folder / "Dockerfile")
        (self.folder / ".dockerignore").unlink()
        self.requirements = self.torch()
        document = self.pyproject()
        for need in self.requirements:
            document["project"]["dependencies"].remove(need)
        self.write(document)

    def bump(self) -> None:
        """Name another version of torch for pip."""
        self.requirements = [bumped(need) for need in self.requirements]

    def lock(self) -> None:
        """As its author does: Poetry alone."""
        run("poetry", "lock", folder=self.folder)

    def arguments(self) -> list[str]:
        """Name torch for pip, and Poetry as this repository has it."""
        wanted = " ".join(re.sub(r"[ ()]", "", need) for need in self.requirements)
        if self.wheels:
            wanted = re.sub(r"(==[\d.]+)", rf"\1+{self.build}", wanted)
        lock = (TOP / "locks" / "poetry.txt").read_text()
        names = r"^(?:poetry|poetry-plugin-pypi-mirror)==\S+"
        poetry = " ".join(re.findall(names, lock, re.MULTILINE))
        return [f"--build-arg=TORCH={wanted}", f"--build-arg=POETRY={poetry}"]


class Uv(Contender):
    """A multi-stage image as uv's guide to Docker has it."""

    def shape(self) -> None:
        """Leave uv's files and the code, and hold uv to the versions that the others have."""
        for name in ("apt", "locks", "template", "torchcrate", "docs", "Dockerfile.cpu"):
            path = self.folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        lock = tomlkit.parse((self.folder / "poetry.lock").read_text()).unwrap()
        elsewhere = split_locks.family(lock)
        pins = [
            f"{p['name']}=={p['version']}" for p in lock["package"] if p["name"] not in elsewhere
        ]
        (self.folder / "poetry.lock").unlink()
        shutil.copy(HERE / "uv.Dockerfile", self.folder / "Dockerfile")
        document = self.pyproject()
        document["tool"]["uv"] = {"constraint-dependencies": pins}
        (self.folder / ".dockerignore").write_text(".git\n.tools\n.venv\nwheels\n")
        if self.wheels:
            wheel = next(self.wheels.glob(f"torch-*+{self.build}-cp311-*.whl"))
            (self.folder / "wheels").symlink_to(self.wheels)
            document["tool"]["uv"]["sources"] = {"torch": {"path": f"wheels/{wheel.name}"}}
        self.write(document)

    def bump(self) -> None:
        """As the others; what else a newer torch needs may be of another version too."""
        super().bump()
        document = self.pyproject()
        del document["tool"]["uv"]["constraint-dependencies"]
        self.write(document)

    def lock(self) -> None:
        """As its author does: uv alone."""
        run("uv", "lock", "--quiet", folder=self.folder)

    def arguments(self) -> list[str]:
        """Hand in the uv that this repository has pinned."""
        return [f"--build-context=uv={TOP / '.tools' / 'uv' / 'bin'}"]


class Ours(Contender):
    """This repository's own image."""

    def lock(self) -> None:
        """Change the version as torchcrate/README.md says."""
        words = ["./crate", "lock", f"--build={self.build}"]
        run(*words, *([f"--wheels={self.wheels}"] if self.wheels else []), folder=self.folder)

    def arguments(self) -> list[str]:
        """Choose the Dockerfile."""
        if self.build == "cpu":
            return [f"--file={self.folder / 'Dockerfile.cpu'}"]
        return [f"--build-arg=TORCH_BUILD={self.build}"]


def wheel_sizes(lock: Path, wheels: Path | None) -> dict[str, int]:
    """Return {package: bytes of the wheel that Python 3.11 takes on this machine} of a uv.lock.

    A package is left out where there is no such wheel, or where the index does not say its size.
    """
    supported = [*tags.cpython_tags((3, 11)), *tags.compatible_tags((3, 11), "cp311")]
    rank = {tag: number for number, tag in enumerate(supported)}
    found = {}
    for package in tomlkit.parse(lock.read_text())["package"]:
        fitting = {}
        for wheel in package.get("wheels", ()):
            name = wheel["url" if "url" in wheel else "filename"].rpartition("/")[2]
            fits = [rank[tag] for tag in parse_wheel_filename(unquote(name))[3] if tag in rank]
            if fits:
                own = wheels / unquote(name) if wheels else None
                here = own.stat().st_size if own and own.exists() else None
                fitting[min(fits)] = wheel.get("size", here)
        if fitting and fitting[min(fitting)] is not None:
            found[package["name"]] = fitting[min(fitting)]
    return found


ALL = {"ours": Ours, "article": Article, "uv": Uv}
default_gpu_build = build_script.default_gpu_build
