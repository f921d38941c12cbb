"""The three images of the benchmark, each built from the same project in its own folder."""

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

from template import tiers
from template.machines import Machine
from torchcrate import host
from torchcrate.host import TOP, fail
from torchcrate.stages.locks import split_locks
from torchcrate.stages.locks.split_locks import ROOTS

HERE = TOP / "template/bench"
# Small packages of pure Python without dependencies, one for each edit of the dependencies.
SMALL = ("einops", "tomlkit")
# The versions for the torch bump: the next ones after those in locks/.
BUMP = {"torch": "2.14.1", "torchvision": "0.29.1"}


def run(*command: str | Path, folder: Path) -> None:
    """Run a command in a folder. Ends the program if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        fail(f"`{' '.join(map(str, command))}` failed:\n{done.stdout}{done.stderr}")


def bumped(need: str) -> str:
    """Return a requirement, with the version from BUMP if its package is there."""
    name = re.match(r"[\w.-]*", need).group()
    return f"{name} (=={BUMP[name]})" if name in BUMP else need


@dataclass
class Contender:
    """A way to build the image: its folder and Dockerfile, and what its author does for an edit."""

    name: str
    folder: Path
    build: str  # the torch build
    wheels: Path | None  # a folder to take torch from

    def prepare(self) -> None:
        """Fill the folder with the project, in this contender's form."""
        tiers.copy_files(self.folder, "--", ":!template/bench", ":!template/examples")
        (self.folder / "tests").mkdir()
        document = self.pyproject()
        needs = document["project"]["dependencies"]
        if self.wheels:  # the folder has torch but no sisters
            for need in [need for need in needs if need.startswith(ROOTS[1:])]:
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
        """Change the repository's files for this contender."""

    def remove_ours(self) -> None:
        """Delete the files that only our own image needs."""
        for name in ("apt", "locks", "template", "torchcrate", "docs", "Dockerfile.cpu"):
            path = self.folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def lock(self) -> None:
        """Update the folder's locks."""
        raise NotImplementedError

    def edit_code(self) -> None:
        """Change a line of code."""
        file = next((self.folder / "src").glob("*/__init__.py"))
        file.write_text(file.read_text() + "\n# an edit\n")

    def add(self, package: str) -> None:
        """Add a package to pyproject.toml."""
        document = self.pyproject()
        document["project"]["dependencies"].append(package)
        self.write(document)

    def bump(self) -> None:
        """Change torch's version in pyproject.toml."""
        document = self.pyproject()
        needs = document["project"]["dependencies"]
        for number, need in enumerate(needs):
            needs[number] = bumped(need)
        if document == self.pyproject():
            fail(f"{self.folder}/pyproject.toml has {BUMP} already: name the next ones in BUMP.")
        self.write(document)

    def torch(self) -> list[str]:
        """Return the requirements of torch and its sisters."""
        dependencies = self.pyproject()["project"]["dependencies"]
        return [need for need in dependencies if re.match(rf"({'|'.join(ROOTS)})\b", need)]

    def arguments(self) -> list[str]:
        """Return this contender's own options of `docker buildx build`."""
        return []

    def run(self, machine: Machine, base: str, log: Path, *options: str) -> None:
        """Build on a machine, from a base image."""
        command = ["buildx", "build", "--progress=plain", "--provenance=false"]
        command += [f"--build-arg=BASE_IMAGE={base}", f"--build-arg=INDEX_URL={host.index_url()}"]
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
            value = os.environ.get(name) or os.environ.get(name.lower())
            command += [f"--build-arg={name}={value}"] if value else []
        command += [f"--secret=id=ca,src={host.ca_bundle()}"]
        command += [f"--build-context=wheels={self.wheels or self.folder / 'tests'}"]
        machine.docker(*command, *self.arguments(), *options, str(self.folder), log=log)


class Article(Contender):
    """The article's image: Poetry for the dependencies, pip for torch."""

    def shape(self) -> None:
        """Remove torch from pyproject.toml, because pip installs it."""
        self.remove_ours()
        shutil.copy(HERE / "article.Dockerfile", self.folder / "Dockerfile")
        (self.folder / ".dockerignore").unlink()
        self.requirements = self.torch()
        document = self.pyproject()
        for need in self.requirements:
            document["project"]["dependencies"].remove(need)
        self.write(document)

    def bump(self) -> None:
        """Change torch's version for pip."""
        self.requirements = [bumped(need) for need in self.requirements]

    def lock(self) -> None:
        """Lock with Poetry only."""
        run("poetry", "lock", folder=self.folder)

    def arguments(self) -> list[str]:
        """Pass torch's requirement for pip, and the Poetry that this repository pins."""
        wanted = " ".join(re.sub(r"[ ()]", "", need) for need in self.requirements)
        if self.wheels:
            wanted = re.sub(r"(==[\d.]+)", rf"\1+{self.build}", wanted)
        lock = (TOP / "locks" / "poetry.txt").read_text()
        names = r"^(?:poetry|poetry-plugin-pypi-mirror)==\S+"
        poetry = " ".join(re.findall(names, lock, re.MULTILINE))
        return [f"--build-arg=TORCH={wanted}", f"--build-arg=POETRY={poetry}"]


class Uv(Contender):
    """A multi-stage image as in uv's guide: https://docs.astral.sh/uv/guides/integration/docker/."""

    def shape(self) -> None:
        """Write uv's files, and constrain uv to the others' versions."""
        self.remove_ours()
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
        """Change torch's version, and let uv choose versions for what the new torch needs."""
        super().bump()
        document = self.pyproject()
        del document["tool"]["uv"]["constraint-dependencies"]
        self.write(document)

    def lock(self) -> None:
        """Lock with uv only."""
        run("uv", "lock", "--quiet", folder=self.folder)

    def arguments(self) -> list[str]:
        """Pass the uv that this repository pins."""
        return [f"--build-context=uv={TOP / '.tools' / 'uv' / 'bin'}"]


class Ours(Contender):
    """This repository's own image."""

    def lock(self) -> None:
        """Lock as torchcrate/README.md says."""
        words = ["./crate", "lock", f"--build={self.build}"]
        run(*words, *([f"--wheels={self.wheels}"] if self.wheels else []), folder=self.folder)

    def arguments(self) -> list[str]:
        """Choose the Dockerfile."""
        if self.build == "cpu":
            return [f"--file={self.folder / 'Dockerfile.cpu'}"]
        return [f"--build-arg=TORCH_BUILD={self.build}"]


def wheel_sizes(lock: Path, wheels: Path | None) -> dict[str, int]:
    """Return {package in a uv.lock: bytes of its wheel for Python 3.11 on this machine}.

    Packages without such a wheel, or without a size in the index, are left out.
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
