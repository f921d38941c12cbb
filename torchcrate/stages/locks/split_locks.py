"""Cut the project's locks into the parts that the image's stages install.

It runs in the stage ``locks``, before anything is installed. It stops the build with one sentence
if the locks are out of date or do not fit together. The host's ``torchcrate/lock.py`` uses the same
functions, so both agree on the family.

poetry.lock says which packages an environment gets, as `poetry install` reads it: the package's
groups, and its markers (https://python-poetry.org/docs/cli/#install).

The *torch family* is torch and its sisters, of which PyTorch's index has wheels for each build, and
those of their dependencies whose name belongs to a torch build (triton, CUDA, ROCm) and that no
other package in the project needs. Plain dependencies of torch (numpy, jinja2 …) are not family:
they are the same for every build, and adding one must not change torch's layer.

Two dependency groups have a meaning: packages in `torch-extensions` are compiled against the
image's torch, with the packages in `torch-extensions-build`. For torch with CUDA 13 or newer,
locks/nvcc.<build>.txt has NVIDIA's compiler of the same CUDA version.
"""

import argparse
import json
import posixpath
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

try:
    from packaging.markers import Marker
    from packaging.tags import sys_tags
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename
    from packaging.version import VERSION_PATTERN
except ImportError:  # in the image, where PYTHONPATH is a wheel of pip
    from pip._vendor.packaging.markers import Marker
    from pip._vendor.packaging.tags import sys_tags
    from pip._vendor.packaging.utils import InvalidWheelFilename, parse_wheel_filename
    from pip._vendor.packaging.version import VERSION_PATTERN

ROOTS = ("torch", "torchvision", "torchaudio", "torchcodec")
BUILD_PACKAGE = re.compile(r"(pytorch-)?triton(-.+)?|nvidia-.+|cuda-.+|rocm-.+|intel-.+-rt")
PIN = re.compile(r"^([A-Za-z0-9._-]+)===?([^\s;\\]+)", re.MULTILINE)
TORCH_PIN = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)===?([A-Za-z0-9._+!-]+)"
    r'( ; platform_machine == "(?:x86_64|aarch64)")?( --hash=sha256:[0-9a-f]{64})+'
)
# PyTorch's own package index: one folder for each build.
PYTORCH = "https://download.pytorch.org/whl"
# The groups with a meaning, and the folder of path dependencies.
EXTENSIONS, EXTENSIONS_BUILD = "torch-extensions", "torch-extensions-build"
PACKAGES = "packages"
# NVIDIA's compiler in wheels, which unpack beside torch's CUDA packages. None are for CUDA 12:
# nvidia-cuda-nvcc-cu12 has no nvcc. The runtime is torch's own version, with its static libraries.
COMPILER = ("nvidia-cuda-cccl", "nvidia-cuda-crt", "nvidia-cuda-nvcc", "nvidia-cuda-runtime")
COMPILER += ("nvidia-nvvm",)
PARTS = ("settled", "new", "sources", "dev", "dev-sources")
TAGS = frozenset(sys_tags())  # of the wheels that this Python can install
# The images, as markers see them. `./crate lock` runs on other machines too.
MACHINES = ("x86_64", "aarch64")
LINUX = {
    **{"python_version": "3.11", "implementation_name": "cpython", "os_name": "posix"},
    **{"platform_python_implementation": "CPython", "platform_system": "Linux"},
    "sys_platform": "linux",
}
NO_TORCH = (
    "pyproject.toml does not name torch: run `./crate add torch==VERSION`, then `./crate lock`."
)
# How a torch lock says that it has another version than poetry.lock's.
INSTEAD = "# Instead of"
# The name of any build, also of one that came from a folder of wheels.
BUILD_NAME = re.compile(r"[a-z0-9]+([.][a-z0-9]+)*")
# The names of PyTorch's builds. A build with another name came from a folder of wheels.
OFFICIAL = re.compile(r"cpu|xpu|cu\d+|rocm[\d.]+")


class LockError(Exception):
    """A lock cannot be used; the message is one sentence with the command that mends it."""


def normalize(name: str) -> str:
    """Return a package name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needs(poetry_lock: dict) -> dict[str, set[str]]:
    """Return {name: names that it needs} of a parsed poetry.lock."""
    found: dict[str, set[str]] = {}
    for package in poetry_lock.get("package", []):
        found.setdefault(normalize(package["name"]), set()).update(
            map(normalize, package.get("dependencies", {}))
        )
    return found


def needed(poetry_lock: dict, names: Iterable[str]) -> set[str]:
    """Return the names that a poetry.lock has, and all their dependencies."""
    known = needs(poetry_lock)
    reached: set[str] = set()
    queue = list(names)
    while queue:
        name = queue.pop()
        if name in known and name not in reached:
            reached.add(name)
            queue += known[name]
    return reached


def family(poetry_lock: dict) -> set[str]:
    """Return the names in a parsed poetry.lock that belong to the torch family."""
    known, reached = needs(poetry_lock), needed(poetry_lock, ROOTS)
    found = {name for name in reached if name in ROOTS or BUILD_PACKAGE.fullmatch(name)}
    while True:
        elsewhere = set().union(*(known[name] for name in known if name not in found))
        shared = (found & elsewhere) - set(ROOTS)
        if not shared:
            return found
        found -= shared


def read_text(file: Path) -> str:
    """Return a file's text. Raises LockError if it cannot be read."""
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise LockError(
            f"{file.name} cannot be read ({error}): mend it, then run `./crate lock`."
        ) from None


def read(file: Path) -> dict:
    """Return a parsed TOML file. Raises LockError if it is not TOML or cannot be read."""
    try:
        return tomllib.loads(read_text(file))
    except tomllib.TOMLDecodeError as error:
        raise LockError(
            f"{file.name} cannot be read ({error}): mend it, then run `./crate lock`."
        ) from None


@contextmanager
def readable() -> Iterator[None]:
    """Raise LockError if pyproject.toml or poetry.lock is TOML, but not as Poetry writes it."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise LockError(
            f"pyproject.toml or poetry.lock is not as Poetry writes it ({error!r}): mend it, then "
            "run `./crate lock`."
        ) from error


def read_lock(project: Path) -> dict:
    """Return a project's parsed poetry.lock, and one package more: it needs what the project names.

    So a package that pyproject.toml names itself, such as triton, is not family: all builds get it.
    No group has the added package. Raises LockError.
    """
    pyproject, found = read(project / "pyproject.toml"), read(project / "poetry.lock")
    with readable():
        standard = pyproject.get("project", {})
        optional = standard.get("optional-dependencies", {}).values()
        lists = (standard.get("dependencies", []), *optional)
        named = {re.match(r"[\w.-]*", need.strip()).group() for needs in lists for need in needs}
        named |= set(pyproject.get("tool", {}).get("poetry", {}).get("dependencies", {}))
        names = {*map(normalize, named), *set().union(*groups(pyproject).values())}
        root = {"name": "", "version": "", "groups": [], "dependencies": dict.fromkeys(names, "*")}
        return {**found, "package": [*found.get("package", []), root]}


def pins(torch_lock: str) -> dict[str, str]:
    """Return {name: version} for the text of a locks/torch.<build>.txt."""
    return {normalize(name): version for name, version in PIN.findall(torch_lock)}


def versions(poetry_lock: dict, group: str = "main") -> dict[str, list[str]]:
    """Return {name: versions} of one group in a parsed poetry.lock, for images, in order.

    Poetry may lock a package in several versions, one for each set of platforms.
    """
    found: dict[str, list[str]] = {}
    for package in poetry_lock.get("package", []):
        if group in package["groups"] and on_linux(marker_of(package, group)):
            there = found.setdefault(normalize(package["name"]), [])
            if package["version"] not in there:
                there.append(package["version"])
    return found


def marker_of(package: dict, group: str) -> str:
    """Return the marker with which a group wants a package of a poetry.lock, or ""."""
    markers = package.get("markers", "")
    if isinstance(markers, dict):
        markers = {normalize(name): text for name, text in markers.items()}.get(group, "")
    return markers


@cache
def on_linux(marker: str) -> bool:
    """Return whether a marker holds in the image of some machine, with some extras."""
    marker = re.sub(r"""\bextra [!=]= ["'][^"']*["']""", 'python_version > "0"', marker)
    images = [{**LINUX, "platform_machine": machine, "extra": ""} for machine in MACHINES]
    return not marker or any(Marker(marker).evaluate(image) for image in images)


def cuda_build(versions: dict[str, str]) -> str | None:
    """Return the build that torch's dependencies show, such as cu130, of {name: version}."""
    for name, version in versions.items():
        if re.fullmatch(r"nvidia-cuda-runtime(-cu\d+)?", name):
            return "cu" + "".join(version.split(".")[:2])
    return None


def check_torch_lock(build: str, text: str) -> None:
    """Raise LockError if a locks/torch.<build>.txt is not as `./crate lock` writes it.

    It may have comments, the index of its build, and exact pins of the family with their digests.
    """
    here = f"locks/torch.{build}.txt"
    more = "" if OFFICIAL.fullmatch(build) else " --wheels FOLDER"
    mend = f"run `./crate lock --build {build}{more}`"
    seen, index = set(), f"--index-url {PYTORCH}/{build}"
    for line in re.sub(r" \\\n +", " ", text).splitlines():
        pin = TORCH_PIN.fullmatch(line)
        name = normalize(pin["name"]) if pin else ""
        known = name in ROOTS or BUILD_PACKAGE.fullmatch(name)
        known = known and re.fullmatch(VERSION_PATTERN, pin[2], re.VERBOSE | re.IGNORECASE)
        if not (line.startswith("#") or line == index or known) or (name, pin and pin[3]) in seen:
            raise LockError(
                f"{here} has {line[:60]!r}, which `./crate lock` does not write there: {mend}."
            )
        if pin:
            seen.add((name, pin[3]))
    found = cuda_build(pins(text))
    if OFFICIAL.fullmatch(build) and index not in text and found not in (build, None):
        raise LockError(f"{here} has the wheels of {found}: {mend}.")


def has_compiler(torch_lock: str) -> bool:
    """Return whether NVIDIA has a compiler in wheels for the CUDA version of a torch lock."""
    return release(pins(torch_lock).get("nvidia-cuda-runtime", "0")) >= (13,)


def check_compiler(build: str, torch_lock: str, text: str) -> None:
    """Raise LockError if a locks/nvcc.<build>.txt is not NVIDIA's compiler for a torch lock."""
    torch = pins(torch_lock)
    toolkit = release(torch["nvidia-cuda-runtime"])
    lines = re.sub(r" \\\n +", " ", text).splitlines()
    found = [TORCH_PIN.fullmatch(line) for line in lines if not line.startswith("#")]
    fits = all(pin and pin["name"] in COMPILER and release(pin[2]) == toolkit for pin in found)
    fits = fits and {pin["name"] for pin in found} == {*COMPILER}
    if not fits or any(torch.get(pin["name"], pin[2]) != pin[2] for pin in found):
        raise LockError(
            f"locks/nvcc.{build}.txt does not have the compiler of CUDA "
            f"{'.'.join(map(str, toolkit))}, with which the group {EXTENSIONS} is compiled: run "
            f"`./crate lock --build {build}`."
        )


def check_fit(build: str, torch_lock: str, poetry_lock: dict) -> None:
    """Raise LockError if a torch lock was not made from this poetry.lock."""
    locked, wanted = pins(torch_lock), versions(poetry_lock)
    here = f"locks/torch.{build}.txt"
    more = "" if OFFICIAL.fullmatch(build) else " --wheels FOLDER"
    mend = f"run `./crate lock --build {build}{more}`"
    if "torch" not in wanted:
        raise LockError(NO_TORCH)
    stands_for = dict(re.findall(rf"^{INSTEAD} (\S+)==(\S+)$", torch_lock, re.MULTILINE))
    for name in ROOTS:
        have = stands_for.get(name) or locked.get(name, "none").partition("+")[0]
        want = " and ".join(wanted.get(name, ["none"]))
        if have != want:
            raise LockError(
                f"{here} has {name} {have} where poetry.lock has {want}: {mend}, then build again."
            )
    twice = sorted(locked.keys() & (wanted.keys() - family(poetry_lock)))
    if twice:
        raise LockError(f"{here} has {', '.join(twice)}, which poetry.lock has too: {mend}.")


def check_sisters(poetry_lock: dict) -> None:
    """Raise LockError if torchaudio does not fit torch in a poetry.lock.

    Poetry sees to it where a sister names the torch that it needs. torchaudio 2.11, the last one,
    names none, and needs torch 2.11 or newer (https://github.com/pytorch/audio/pull/4212).
    """
    there = versions(poetry_lock)
    for audio in there.get("torchaudio", []):
        for torch in there.get("torch", []):
            if release(audio) > release(torch):
                oldest, fits = ".".join(map(str, release(audio))), ".".join(torch.split(".")[:2])
                raise LockError(
                    f"torchaudio {audio} needs torch {oldest} or newer, and poetry.lock has torch "
                    f"{torch}: name torchaudio {fits}.* in pyproject.toml, then run `./crate lock`."
                )


def release(version: str) -> tuple[int, ...]:
    """Return the first two numbers of a version, such as (2, 11)."""
    return tuple(map(int, re.findall(r"\d+", version)[:2]))


def groups(pyproject: dict) -> dict[str, set[str]]:
    """Return {group: names of packages} of a parsed pyproject.toml, `main` left out."""
    standard = pyproject.get("dependency-groups", {})

    def names(group: str, above: tuple[str, ...] = ()) -> set[str]:
        found = set()
        for need in standard.get(group, []) if group not in above else []:
            if isinstance(need, str):
                found.add(normalize(re.match(r"[\w.-]*", need.strip()).group()))
            elif isinstance(need, dict):
                found |= names(str(need.get("include-group")), (*above, group))
        return found

    found = {normalize(group): names(group) for group in standard}
    poetry = pyproject.get("tool", {}).get("poetry", {})
    for group, table in poetry.get("group", {}).items():
        needs = set(map(normalize, table.get("dependencies", {})))
        found[normalize(group)] = found.get(normalize(group), set()) | needs
    if "dev-dependencies" in poetry:
        found["dev"] = found.get("dev", set()) | set(map(normalize, poetry["dev-dependencies"]))
    return found


def listed(text: str) -> list[str]:
    """Return the names in a list with commas or spaces, each once."""
    return list(dict.fromkeys(map(normalize, filter(None, re.split(r"[,\s]+", text)))))


def chosen(
    pyproject: dict, only: str, dev: str, extras: str
) -> tuple[set[str], set[str], set[str]]:
    """Return the groups of both images, the groups of `dev`, and the extras.

    The three lists name groups, more groups for `dev`, and extras. Raises LockError for a name
    that pyproject.toml lacks.
    """
    there = groups(pyproject)
    if "dev" not in there:  # the Dockerfile's default, and a project need not have it
        dev = ",".join(name for name in listed(dev) if name != "dev")
    poetry = pyproject.get("tool", {}).get("poetry", {})
    extras_there = {
        *map(normalize, pyproject.get("project", {}).get("optional-dependencies", {})),
        *map(normalize, poetry.get("extras", {})),
    }
    for argument, wanted, known in (
        ("DEPENDENCY_GROUPS", only, {"main", *there}),
        ("DEV_GROUPS", dev, {"main", *there}),
        ("EXTRAS", extras, extras_there),
    ):
        for name in listed(wanted):
            if name not in known:
                raise LockError(
                    f"{argument} names {name}, which pyproject.toml does not have (there are: "
                    f"{', '.join(sorted(known)) or 'none'}): build with --build-arg {argument}=… "
                    f"of those, or add it to pyproject.toml and run `./crate lock`."
                )
    mine = {*listed(only), EXTENSIONS}
    return mine, {*mine, *listed(dev)}, set(listed(extras))


def is_wanted(package: dict, groups: set[str] | None = None, extras: Iterable[str] = ()) -> bool:
    """Return whether an environment on this machine gets a package of a poetry.lock.

    That is so if the marker of one of the groups holds. Without groups: of any.
    """
    return any(
        holds(marker_of(package, group), tuple(sorted(extras)))
        for group in map(normalize, package["groups"])
        if groups is None or group in groups
    )


@cache
def holds(marker: str, extras: tuple[str, ...]) -> bool:
    """Return whether a marker holds in an image for this machine. For Poetry `extra` is a set."""

    def known(found: re.Match[str]) -> str:
        there = (normalize(found[2]) in extras) == (found[1] == "==")
        return 'python_version > "0"' if there else 'python_version < "0"'

    marker = re.sub(r"""\bextra ([!=]=) ["']([^"']*)["']""", known, marker)
    return not marker or Marker(marker).evaluate({**LINUX, "extra": ""})


def has_wheel(package: dict) -> bool:
    """Return whether a package comes from an index and has a wheel for this machine."""
    if package.get("source", {}).get("type", "legacy") != "legacy":
        return False
    for file in package.get("files", []):
        try:
            if parse_wheel_filename(file["file"])[3] & TAGS:
                return True
        except InvalidWheelFilename:  # a source distribution, or a wheel with an old name
            continue
    return False


def extras_with(pyproject: dict, name: str) -> list[str]:
    """Return the extras of a parsed pyproject.toml that have a package."""
    standard = pyproject.get("project", {}).get("optional-dependencies", {})
    poetry = pyproject.get("tool", {}).get("poetry", {}).get("extras", {})
    return [
        normalize(extra)
        for extra, needs in [*standard.items(), *poetry.items()]
        if name in {normalize(re.match(r"[\w.-]*", str(need).strip()).group()) for need in needs}
    ]


def check_torch_is_wanted(
    pyproject: dict, poetry_lock: dict, groups: set[str], extras: set[str]
) -> None:
    """Raise LockError if torch is only in an extra or a group that the images do not get."""
    torches = [p for p in poetry_lock.get("package", []) if normalize(p["name"]) == "torch"]
    if torches and not any(is_wanted(package, groups, extras) for package in torches):
        there = [f"EXTRAS={extra}" for extra in extras_with(pyproject, "torch")]
        there += [f"DEPENDENCY_GROUPS=main,{group}" for group in torches[0]["groups"]]
        raise LockError(
            "The images would lack torch, which is optional in pyproject.toml: set `ARG "
            f"{there[0]}` in Dockerfile, then run `./crate check --write`."
        )


def check_paths(poetry_lock: dict) -> None:
    """Raise LockError for a path dependency that an image cannot have."""
    for package in poetry_lock.get("package", []):
        source = package.get("source", {})
        if source.get("type") not in ("directory", "file"):
            continue
        name, path = package["name"], str(source.get("url"))
        if not posixpath.normpath(path).startswith(f"{PACKAGES}/"):
            raise LockError(
                f"{name} is a path dependency at {path}, and only what lies in {PACKAGES} goes "
                f"into an image: move it to {PACKAGES}/{name}, then run `poetry remove {name}` and "
                f"`./crate add ./{PACKAGES}/{name}`."
            )
        if package.get("develop"):
            raise LockError(
                f"{name} is an editable path dependency, which would point out of the image: run "
                f"`poetry remove {name}`, then `./crate add ./{path}`."
            )


def check_addresses(*texts: str) -> None:
    """Raise LockError if an address in pyproject.toml or poetry.lock has a user or password.

    Poetry writes a package's address into the image.
    """
    for text in texts:
        found = re.search(r"https?://[^/\s\"'@]+@([^/\s\"']+)", text)
        if found:
            raise LockError(
                f"An address at {found.group(1)} in pyproject.toml or poetry.lock holds a user or "
                "a password, which would stay in the image: take it out, put it into ~/.netrc, "
                "hand that in with --secret id=netrc,src=$HOME/.netrc, and run `./crate lock`."
            )


def requirement(package: dict) -> str:
    """Return a package of a poetry.lock as the lines of a requirements file."""
    name, source = normalize(package["name"]), package.get("source", {})
    kind, url = source.get("type"), source.get("url", "")
    files = [file for file in package.get("files", []) if isinstance(file, dict)]
    hashes = "".join(f" --hash={file.get('hash')}" for file in files)
    below = f"#subdirectory={source['subdirectory']}" if "subdirectory" in source else ""
    if kind == "git":
        return f"{name} @ git+{url}@{source.get('resolved_reference')}{below}\n"
    if kind in ("directory", "file"):
        return f"{name} @ file:///mnt/{url}\n"
    if kind == "url":
        return f"{name} @ {url}{hashes}\n"
    index = f"--extra-index-url {url}\n" if kind == "legacy" else ""
    return f"{index}{name}=={package['version']}{hashes}\n"


def extensions(pyproject: dict, poetry_lock: dict, compiler: str = "") -> tuple[set[str], str, str]:
    """Return the packages compiled against torch: names, and two requirements files.

    The first file has what their build needs: torch's dependencies, the group for it, and the
    compiler's lock. The files have nothing else, so that adding another package compiles nothing
    again.
    """
    named = groups(pyproject)
    packages = poetry_lock.get("package", [])
    there = {normalize(package["name"]) for package in packages if is_wanted(package)}
    compiled = (named.get(EXTENSIONS, set()) & there) - set(ROOTS)
    if not compiled:
        return set(), "", ""
    beside = needed(poetry_lock, {*ROOTS, *compiled, *named.get(EXTENSIONS_BUILD, set())})
    beside -= family(poetry_lock) | compiled
    takes, made = compiler, ""
    for package in packages:
        name = normalize(package["name"])
        if not is_wanted(package):
            continue
        if name in beside:
            takes += requirement(package)
        elif name in compiled:
            made += f"--no-binary {name}\n{requirement(package)}"
    return compiled, takes, made


def compiler(project: Path, build: str, torch_lock: str, pyproject: dict, poetry_lock: dict) -> str:
    """Return the text of a project's locks/nvcc.<build>.txt, or "" if nothing needs it.

    Raises LockError if it is missing, or not for this torch.
    """
    if not has_compiler(torch_lock) or not extensions(pyproject, poetry_lock)[0]:
        return ""
    file = project / "locks" / f"nvcc.{build}.txt"
    text = read_text(file) if file.is_file() else ""
    check_compiler(build, torch_lock, text)
    return text


def with_index(torch_lock: str, index_url: str, torch_index_url: str, build: str) -> str:
    """Return a torch lock with a mirror instead of its own index, if there is one."""
    own = re.search(r"^--index-url .*\n", torch_lock, re.MULTILINE)
    mirror = f"{torch_index_url.rstrip('/')}/{build}" if own and torch_index_url else ""
    if not own:
        mirror = index_url
    if not mirror:
        return torch_lock
    return f"--index-url {mirror}\n" + (torch_lock.replace(own.group(), "") if own else torch_lock)


def content_hashes(pyproject: dict) -> list[str]:
    """Return the hashes that Poetry's locks of a parsed pyproject.toml may have.

    They are of the tables that Poetry reads: poetry.packages.locker.Locker.
    """
    project, poetry = pyproject.get("project", {}), pyproject.get("tool", {}).get("poetry", {})
    of_project = ("requires-python", "dependencies", "optional-dependencies")
    old = ("dependencies", "source", "extras", "dev-dependencies")
    found = []
    for in_groups in (pyproject.get("dependency-groups", {}), {}):  # {}: before Poetry 2.3
        content = {
            "project": {key: project[key] for key in of_project if project.get(key) is not None},
            "dependency-groups": in_groups,
        }
        content = {key: value for key, value in content.items() if value}
        tables = {
            key: poetry.get(key)
            for key in (*old, "group")
            if poetry.get(key) is not None or (key in old and not content)
        }
        content = content | {"tool": {"poetry": tables}} if content else tables
        found.append(sha256(json.dumps(content, sort_keys=True).encode()).hexdigest())
    return found


def check_content_hash(pyproject: dict, poetry_lock: dict) -> None:
    """Raise LockError if poetry.lock was not made from this pyproject.toml."""
    if poetry_lock.get("metadata", {}).get("content-hash") not in content_hashes(pyproject):
        raise LockError(
            "poetry.lock is out of date with pyproject.toml: run `./crate lock`, then build again."
        )


@readable()
def split(
    project: Path,
    out: Path,
    build: str,
    groups: str = "main",
    dev_groups: str = "",
    extras: str = "",
    index_url: str = "",
    torch_index_url: str = "",
) -> None:
    """Check the locks in ``project`` and write to ``out`` what each stage installs.

    These are requirements files, and all but the first may be empty: torch.txt;
    extensions/build.txt and extensions/extensions.txt, beside torch's CUDA version in
    extensions/cuda.txt; settled.txt and new.txt with what has a
    wheel; sources.txt with what has none; and dev.txt and dev-sources.txt with what only `dev`
    gets. locks/settled.txt says what is settled. Raises LockError, with nothing written.
    """
    if "@" in urlsplit(torch_index_url).netloc:
        raise LockError(
            "TORCH_INDEX_URL would stay readable in the image's history: take the password out "
            "and hand it in with --secret id=netrc,src=$HOME/.netrc."
        )
    lock_file = project / "locks" / f"torch.{build}.txt"
    if not lock_file.exists():
        builds = sorted(p.name[6:-4] for p in lock_file.parent.glob("torch.*.txt"))
        raise LockError(
            f"TORCH_BUILD={build} has no lock {lock_file.relative_to(project)} (there are: "
            f"{', '.join(builds) or 'none'}): make it with `./crate lock --build {build}`."
        )
    poetry_lock = read_lock(project)
    pyproject = read(project / "pyproject.toml")
    torch_lock = read_text(lock_file)
    check_content_hash(pyproject, poetry_lock)
    check_paths(poetry_lock)
    check_sisters(poetry_lock)
    check_addresses(*((project / name).read_text() for name in ("pyproject.toml", "poetry.lock")))
    check_torch_lock(build, torch_lock)
    check_fit(build, torch_lock, poetry_lock)
    mine, with_dev, more = chosen(pyproject, groups, dev_groups, extras)
    check_torch_is_wanted(pyproject, poetry_lock, mine, more)
    nvcc = compiler(project, build, torch_lock, pyproject, poetry_lock)
    compiled, takes, made = extensions(pyproject, poetry_lock, nvcc)
    settled = settled_names(project)
    elsewhere = family(poetry_lock) | compiled
    parts = dict.fromkeys(PARTS, "")
    for package in poetry_lock.get("package", []):
        name, wheel = normalize(package["name"]), has_wheel(package)
        if name in elsewhere:
            continue
        if is_wanted(package, mine, more):
            part = ("settled" if name in settled else "new") if wheel else "sources"
        elif is_wanted(package, with_dev, more):
            part = "dev" if wheel else "dev-sources"
        else:
            continue
        parts[part] += requirement(package)

    (out / "extensions").mkdir(parents=True)
    cuda = re.sub(r"cu(\d+)(\d)", r"\1.\2", cuda_build(pins(torch_lock)) or "")
    parts |= {"extensions/build": takes, "extensions/extensions": made, "extensions/cuda": cuda}
    parts["torch"] = with_index(torch_lock, index_url, torch_index_url, build)
    for name, text in parts.items():
        (out / f"{name}.txt").write_text(text)


def settled_names(project: Path) -> set[str]:
    """Return the names in locks/settled.txt, which `./crate lock` writes."""
    file = project / "locks" / "settled.txt"
    return set(re.findall(r"^[^#\s]+", file.read_text(), re.MULTILINE)) if file.is_file() else set()


def main() -> None:
    """Run as a command; see --help."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("project", type=Path, help="folder with pyproject.toml and the locks")
    parser.add_argument("out", type=Path, help="folder to write the parts to")
    parser.add_argument("--build", required=True, help="the torch build, such as cu130 or cpu")
    parser.add_argument("--groups", default="main", help="dependency groups of both images")
    parser.add_argument("--dev-groups", default="", help="more groups of `dev`")
    parser.add_argument("--extras", default="", help="extras of both images")
    parser.add_argument("--index-url", default="", help="mirror of the default package index")
    parser.add_argument("--torch-index-url", default="", help="mirror of PyTorch's index")
    try:
        split(**vars(parser.parse_args()))
    except LockError as error:
        sys.exit(f"ERROR: {error}")


if __name__ == "__main__":
    main()
