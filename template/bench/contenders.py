"""The benchmark's four images, each built from the same project in its own folder."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import tomlkit

from template import tiers
from template.machines import Machine
from torchcrate import host
from torchcrate.host import TOP, fail
from torchcrate.stages.locks import split_locks
from torchcrate.stages.locks.split_locks import ROOTS

HERE = TOP / "template/bench"
# Small packages of pure Python without dependencies: one to add at home, one on another machine.
SMALL = ("einops", "tomlkit")
# What a project has beside the sample's dependencies. The versions leave one to raise.
REAL = (
    *("lightning", "transformers", "scikit-learn", "opencv-python-headless", "nvidia-ml-py"),
    *("pandas (==3.1.0)", "numpy (==2.4.5)"),
)
PROJECTS = {"real": REAL, "sample": (), "large": (*REAL, "jupyterlab", "datasets")}
# {edit: (a package, its requirement afterwards, "" for none)}; all projects have the first one.
ADD = "add a small package"
EDITS = {
    ADD: (SMALL[0], SMALL[0]),
    "raise pandas": ("pandas", "pandas (==3.1.1)"),
    "raise numpy": ("numpy", "numpy (==2.4.6)"),
    "remove a package": ("nvidia-ml-py", ""),
}
# The versions for the torch bump: the next ones after those in locks/.
BUMP = {"torch": "2.14.1", "torchvision": "0.29.1"}


def run(*command: str | Path, folder: Path) -> None:
    """Run a command in a folder. Ends the program if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        fail(f"`{' '.join(map(str, command))}` failed:\n{done.stdout}{done.stderr}")


def name_of(need: str) -> str:
    """Return the package that a requirement names."""
    return re.match(r"[\w.-]*", need).group()


def bumped(need: str) -> str:
    """Return a requirement, with the version from BUMP if its package is there."""
    name = name_of(need)
    return f"{name} (=={BUMP[name]})" if name in BUMP else need


def replace(needs: list[str], package: str, requirement: str) -> None:
    """Replace a package in a list of requirements, add it, or remove it with ""."""
    for index in reversed(range(len(needs))):
        if name_of(needs[index]) == package:
            del needs[index]
    if requirement:
        needs.append(requirement)


@dataclass
class Contender:
    """A way to build the image: its folder and Dockerfile, and what its author does for an edit."""

    name: str
    folder: Path
    build: str  # the torch build
    wheels: Path | None  # a folder to take torch from
    project: str = "sample"  # of PROJECTS
    # Those of EDITS to measure. Where torch and all else are in one layer, each costs the same.
    edits = (ADD,)
    bumps = False  # whether to measure another torch, which then costs what an edit costs

    def prepare(self, like: Path | None = None) -> None:
        """Fill the folder with the project, in this contender's form.

        `like` is our own form of it: the others get the versions in its poetry.lock.
        """
        tiers.copy_files(self.folder, "--", ":!tests", ":!template/bench", ":!template/examples")
        (self.folder / "tests").mkdir()
        if like:
            shutil.copy(like / "poetry.lock", self.folder)
        document = self.pyproject()
        needs = document["project"]["dependencies"]
        for need in PROJECTS[self.project]:
            replace(needs, name_of(need), need)
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

    def change(self, package: str, requirement: str) -> None:
        """Replace a package's requirement in pyproject.toml, add it, or remove it with ""."""
        document = self.pyproject()
        replace(document["project"]["dependencies"], package, requirement)
        self.write(document)

    def pins(self) -> list[str]:
        """Return the versions in poetry.lock, but for torch's and those that an edit changes."""
        lock = tomlkit.parse((self.folder / "poetry.lock").read_text()).unwrap()
        free = split_locks.family(lock) | {package for package, _ in EDITS.values()}
        return [f"{p['name']}=={p['version']}" for p in lock["package"] if p["name"] not in free]

    def bump(self) -> None:
        """Change torch's version in pyproject.toml."""
        document = self.pyproject()
        needs = document["project"]["dependencies"]
        for number, need in enumerate(needs):
            needs[number] = bumped(need)
        if document == self.pyproject():
            fail(f"{self.folder}/pyproject.toml has {BUMP} already: name the next ones in BUMP.")
        self.write(document)

    def packages(self) -> int:
        """Return how many packages the image has beside torch's family."""
        lock = tomlkit.parse((self.folder / "poetry.lock").read_text()).unwrap()
        wanted = {p["name"] for p in lock["package"] if split_locks.is_wanted(p, {"main"})}
        return len(wanted - split_locks.family(lock))

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
        document = self.pyproject()
        document["tool"]["uv"] = {"constraint-dependencies": self.pins()}
        (self.folder / "poetry.lock").unlink()
        shutil.copy(HERE / "uv.Dockerfile", self.folder / "Dockerfile")
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


class TorchFirst(Contender):
    """What a careful engineer writes by hand: torch first, uv and two requirements files."""

    edits, bumps = tuple(EDITS), True

    def shape(self) -> None:
        """Write its Dockerfile, and constrain uv to the others' versions."""
        self.remove_ours()
        lock = tomlkit.parse((self.folder / "poetry.lock").read_text()).unwrap()
        self.family = split_locks.family(lock)
        (self.folder / "constraints.txt").write_text("\n".join(self.pins()))
        (self.folder / "poetry.lock").unlink()
        shutil.copy(HERE / "torch-first.Dockerfile", self.folder / "Dockerfile")
        (self.folder / ".dockerignore").unlink()

    def bump(self) -> None:
        """Change torch's version, and let uv choose versions for what the new torch needs."""
        super().bump()
        (self.folder / "constraints.txt").write_text("")
        (self.folder / "all.txt").unlink()

    def lock(self) -> None:
        """Lock with uv, and cut the lock in two. Versions that still fit stay."""
        needs = "\n".join(self.pyproject()["project"]["dependencies"])
        command = ["uv", "pip", "compile", "all.in", "--output-file=all.txt", "--quiet"]
        command += ["--generate-hashes", "--no-annotate", "--no-header", "--python-version=3.11"]
        command += ["--constraints=constraints.txt"]
        if self.wheels:
            needs = re.sub(r"^torch \(==([\d.]+)\)", rf"torch==\1+{self.build}", needs, flags=re.M)
            command += [f"--find-links={self.wheels}"]
        (self.folder / "all.in").write_text(needs)
        run(*command, folder=self.folder)
        parts = {"torch.txt": "", "requirements.txt": ""}
        for pin in re.split(r"\n(?! )", (self.folder / "all.txt").read_text()):
            name = re.match(r"[\w.-]*", pin).group()
            parts["torch.txt" if name in self.family else "requirements.txt"] += f"{pin}\n"
        for name, text in parts.items():
            (self.folder / name).write_text(text)

    def arguments(self) -> list[str]:
        """Pass the uv that this repository pins."""
        return [f"--build-context=uv={TOP / '.tools' / 'uv' / 'bin'}"]


class Ours(Contender):
    """This repository's own image."""

    edits, bumps = tuple(EDITS), True

    def lock(self) -> None:
        """Lock as torchcrate/README.md says."""
        words = ["./crate", "lock", f"--build={self.build}"]
        run(*words, *([f"--wheels={self.wheels}"] if self.wheels else []), folder=self.folder)

    def arguments(self) -> list[str]:
        """Choose the Dockerfile."""
        if self.build == "cpu":
            return [f"--file={self.folder / 'Dockerfile.cpu'}"]
        return [f"--build-arg=TORCH_BUILD={self.build}"]


ALL = {"ours": Ours, "torch-first": TorchFirst, "uv": Uv, "article": Article}
