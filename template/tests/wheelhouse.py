"""Stub wheels: the torch family of a project's locks in a few kilobytes, to build in seconds.

A stub has the name, version and dependencies in the locks, a little of torch's interface, and its
own hash. Stubs show what an image has and how it is made. Only real wheels show that torch
computes.
"""

import base64
import hashlib
import re
import zipfile
from pathlib import Path
from urllib.parse import quote

from packaging.markers import Marker

from torchcrate.stages.locks import split_locks
from torchcrate.testing.wheels import PIN, cuda

# The environment for markers.
IMAGE = {
    **{"python_version": "3.11", "python_full_version": "3.11.9", "extra": ""},
    **{"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"},
}
MODULES = {
    "torch": {
        "torch/__init__.py": "from . import cuda, version\nfrom .version import __version__\n"
        "def get_num_threads():\n    return 1\n",
        "torch/version.py": "__version__ = {version!r}\ncuda = {cuda!r}\nhip = None\n",
        "torch/cuda/__init__.py": "def is_available():\n    return False\n",
        # As in real wheels: stages/install/prune.txt lists such files.
        "torch/bin/test_api": "a test's program\n",
        "torch/bin/torch_shm_manager": "a program\n",
        "torch/lib/libtorch_static.a": "a static library\n",
    },
    "torchvision": {"torchvision/__init__.py": "__version__ = {version!r}\n"},
}


# A module with the package's name.
ANY = {"{module}.py": "__version__ = {version!r}\n"}


def any_wheel(
    folder: Path,
    name: str,
    version: str,
    build: str,
    requires: list[str],
    modules: dict[str, str] = ANY,
) -> Path:
    """Write one stub wheel, the same bytes every time, and return its file.

    The modules are {path: text}, with {module}, {version} and {cuda} to fill in.
    """
    module = re.sub(r"[-.]+", "_", name)
    words = {
        "module": module,
        "version": version if "+" in version else f"{version}+{build}",
        "cuda": cuda(build),
    }
    files = {path.format(**words): text.format(**words) for path, text in modules.items()}
    info = f"{module}-{version}.dist-info"
    files[f"{info}/METADATA"] = "\n".join(
        ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        + [f"Requires-Dist: {requirement}" for requirement in requires]
        + ["", ""]
    )
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
        record += f"{path},sha256={digest.rstrip('=')},{len(text.encode())}\n"
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path), text)  # its time is always 1980-01-01
    return target


def wheel(folder: Path, name: str, version: str, build: str, requires: list[str]) -> Path:
    """Write the stub wheel of a package, with a little of torch's interface if it is torch."""
    return any_wheel(folder, name, version, build, requires, MODULES.get(name, ANY))


def holds(how: str | dict | list) -> bool:
    """Return whether a dependency in poetry.lock applies to the images."""
    ways = how if isinstance(how, list) else [how]
    markers = [way.get("markers", "") if isinstance(way, dict) else "" for way in ways]
    return any(not marker or Marker(marker).evaluate(IMAGE) for marker in markers)


def requirements(poetry_lock: dict, name: str, torch_lock: str) -> list[str]:
    """Return what a stub depends on: its packages in poetry.lock, and the rest of torch's family.

    Torch depends on its whole family, so that a missing package is noticed.
    """
    family = split_locks.family(poetry_lock)
    here = [package for package in poetry_lock["package"] if package["name"] == name]
    needs = {
        need
        for package in here
        for need, how in package.get("dependencies", {}).items()
        if holds(how)
    }
    found = sorted(need for need in needs if split_locks.normalize(need) not in family)
    if name == "torch":
        for pin in PIN.finditer(torch_lock):
            if pin["name"] not in split_locks.ROOTS:
                found.append(f"{pin['name']}=={pin['version']}{pin['marker'].rstrip()}")
    elif name in split_locks.ROOTS:
        found.append("torch")
    return found


def stub(project: Path, build: str, folder: Path) -> None:
    """Write stub wheels for a build's lock to a folder, and their hashes into the lock."""
    lock = project / "locks" / f"torch.{build}.txt"
    text = lock.read_text()
    poetry_lock = split_locks.read_lock(project)
    lines = [line for line in text.splitlines() if line.startswith(("#", "--"))]
    for pin in PIN.finditer(text):
        requires = requirements(poetry_lock, split_locks.normalize(pin["name"]), text)
        file = wheel(folder, pin["name"], pin["version"], build, requires)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        lines.append(f"{pin.group().rstrip()} \\\n    --hash=sha256:{digest}")
    lock.write_text("\n".join(lines) + "\n")


def family(project: Path, build: str, folder: Path) -> None:
    """Write stub wheels of torch and its sisters in poetry.lock, for a build without a lock."""
    poetry_lock = split_locks.read_lock(project)
    for name in split_locks.ROOTS:
        for version in split_locks.versions(poetry_lock).get(name, ()):
            needs = requirements(poetry_lock, name, "")
            wheel(folder, name, f"{version}+{build}", build, needs)


def pages(folder: Path) -> None:
    """Write the pages of a package index for a folder of wheels, like PyTorch's (PEP 503)."""
    for file in folder.glob("*.whl"):
        name = split_locks.normalize(file.name.partition("-")[0])
        page = folder / name / "index.html"
        page.parent.mkdir(exist_ok=True)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        link = f'<a href="../{quote(file.name)}#sha256={digest}">{file.name}</a>'
        page.write_text(f"<!DOCTYPE html><html><body>{link}</body></html>\n")
