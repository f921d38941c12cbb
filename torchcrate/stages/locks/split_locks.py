"""Cut the project's locks: the torch family, what else torch needs, and what Poetry installs.

It runs in the stages ``torch-locks`` and ``locks``, before anything is installed. It stops the
build with one sentence if the locks are out of date or do not fit together. The host's
``torchcrate/lock.py`` uses the same functions, so both agree on the family.

The *torch family* is torch, torchvision and torchaudio, and those of their dependencies whose name
belongs to a torch build (triton, CUDA, ROCm) and that no other package in the project needs. Plain
dependencies of torch (numpy, jinja2 …) are not family: they are the same for every build, and
adding one must not change torch's layer.

Two dependency groups have a meaning: packages in `torch-extensions` are compiled against the
image's torch, with the packages in `torch-extensions-build`.
"""

import argparse
import posixpath
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

ROOTS = ("torch", "torchvision", "torchaudio")
BUILD_PACKAGE = re.compile(r"(pytorch-)?triton(-.+)?|nvidia-.+|cuda-.+|rocm-.+|intel-.+-rt")
PIN = re.compile(r"^([A-Za-z0-9._-]+)===?([^\s;\\]+)", re.MULTILINE)
# The groups with a meaning, and the folder of path dependencies.
EXTENSIONS, EXTENSIONS_BUILD = "torch-extensions", "torch-extensions-build"
PACKAGES = "packages"
# How a torch lock says that it has another version than poetry.lock's.
INSTEAD = "# Instead of"
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


def read(file: Path) -> dict:
    """Return a parsed TOML file. Raises LockError if it is not TOML or does not exist."""
    try:
        return tomllib.loads(file.read_text())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
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


def pins(torch_lock: str) -> dict[str, str]:
    """Return {name: version} for the text of a locks/torch.<build>.txt."""
    return {normalize(name): version for name, version in PIN.findall(torch_lock)}


def versions(poetry_lock: dict, group: str = "main") -> dict[str, set[str]]:
    """Return {name: versions} of one group in a parsed poetry.lock.

    Poetry may lock a package in several versions, one for each set of platforms.
    """
    found: dict[str, set[str]] = {}
    for package in poetry_lock.get("package", []):
        if group in package["groups"]:
            found.setdefault(normalize(package["name"]), set()).add(package["version"])
    return found


def check_fit(build: str, torch_lock: str, poetry_lock: dict) -> None:
    """Raise LockError if a torch lock was not made from this poetry.lock."""
    locked, wanted = pins(torch_lock), versions(poetry_lock)
    here = f"locks/torch.{build}.txt"
    more = "" if OFFICIAL.fullmatch(build) else " --wheels FOLDER"
    mend = f"run `./crate lock --build {build}{more}`"
    stands_for = dict(re.findall(rf"^{INSTEAD} (\S+)==(\S+)$", torch_lock, re.MULTILINE))
    for name in ROOTS:
        have = stands_for.get(name) or locked.get(name, "none").partition("+")[0]
        want = next(iter(wanted.get(name, {"none"})))
        if have != want:
            raise LockError(
                f"{here} has {name} {have} where poetry.lock has {want}: {mend}, then build again."
            )
    twice = sorted(locked.keys() & (wanted.keys() - family(poetry_lock)))
    if twice:
        raise LockError(f"{here} has {', '.join(twice)}, which Poetry installs too: {mend}.")


def for_poetry(pyproject: dict) -> dict:
    """Return the part of pyproject.toml that decides what Poetry installs.

    Other changes in pyproject.toml (version, ruff's settings …) then do not change the layers of
    the dependencies. Poetry's content hash covers exactly these tables.
    """
    project, poetry = pyproject.get("project", {}), pyproject.get("tool", {}).get("poetry", {})
    project_keys = ("requires-python", "dependencies", "optional-dependencies")
    poetry_keys = ("dependencies", "group", "source", "extras", "dev-dependencies")
    kept = {
        "project": {"name": "project", "version": "0"}
        | {key: project[key] for key in project_keys if key in project},
        "tool": {
            "poetry": {"package-mode": False}
            | {key: poetry[key] for key in poetry_keys if key in poetry}
        },
    }
    if "dependency-groups" in pyproject:
        kept["dependency-groups"] = pyproject["dependency-groups"]
    return kept


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


def options(pyproject: dict, only: str, dev: str, extras: str) -> dict[str, str]:
    """Return {file: options of `poetry install`} for the image and for `dev`.

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
    mine = listed(only) + [EXTENSIONS] * (EXTENSIONS in there)
    more = [f"--extras={extra}" for extra in listed(extras)]
    return {
        "install.options": " ".join([f"--only={','.join(mine)}", *more]),
        "install-dev.options": " ".join([f"--only={','.join(mine + listed(dev))}", *more]),
    }


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
    markers = package.get("markers", "")
    if isinstance(markers, dict):  # by group; one without needs the package everywhere
        every = set(map(normalize, package["groups"])) <= set(map(normalize, markers))
        markers = " or ".join(f"({marker})" for marker in markers.values()) if every else ""
    marker = f" ; {markers}" if markers else ""
    below = f"#subdirectory={source['subdirectory']}" if "subdirectory" in source else ""
    if kind == "git":
        return f"{name} @ git+{url}@{source.get('resolved_reference')}{below}{marker}\n"
    if kind in ("directory", "file"):
        return f"{name} @ file:///mnt/{url}{marker}\n"
    if kind == "url":
        return f"{name} @ {url}{marker}{hashes}\n"
    index = f"--extra-index-url {url}\n" if kind == "legacy" else ""
    return f"{index}{name}=={package['version']}{marker}{hashes}\n"


def extensions(pyproject: dict, poetry_lock: dict) -> tuple[set[str], str, str]:
    """Return the packages compiled against torch: names, and two requirements files.

    The first file has what their build needs: torch's dependencies, and the group for it. The files
    have nothing else, so that adding another package compiles nothing again.
    """
    named = groups(pyproject)
    packages = poetry_lock.get("package", [])
    there = {normalize(package["name"]) for package in packages}
    compiled = (named.get(EXTENSIONS, set()) & there) - set(ROOTS)
    if not compiled:
        return set(), "", ""
    beside = needed(poetry_lock, {*ROOTS, *compiled, *named.get(EXTENSIONS_BUILD, set())})
    beside -= family(poetry_lock) | compiled
    takes, made = "", ""
    for package in packages:
        name = normalize(package["name"])
        if name in beside:
            takes += requirement(package)
        elif name in compiled:
            made += f"--no-binary {name}\n{requirement(package)}"
    return compiled, takes, made


def torch_needs(poetry_lock: dict) -> tuple[set[str], str]:
    """Return torch's dependencies outside its family: names, and a requirements file.

    They change with torch, and are most of the bytecode to compile (sympy, networkx, numpy). So
    they are installed in a step of their own, which an edit of your dependencies does not run
    again. Poetry installs those that do not come from an index, or that an extra adds.
    """
    beside = needed(poetry_lock, ROOTS) - family(poetry_lock)
    packages = [
        package
        for package in poetry_lock.get("package", [])
        if normalize(package["name"]) in beside
    ]
    left = {
        normalize(package["name"])
        for package in packages
        if package.get("source", {}).get("type", "legacy") != "legacy"
        or package.get("optional")
        or "main" not in package["groups"]
        or "extra" in str(package.get("markers", ""))
    }
    taken = [package for package in packages if normalize(package["name"]) not in left]
    return beside - left, "".join(map(requirement, taken))


def without(poetry_lock_text: str, names: set[str]) -> str:
    """Return the text of a poetry.lock without the packages of these names."""
    import tomlkit  # comes with Poetry, which the stage `torch-locks` does not have

    document = tomlkit.parse(poetry_lock_text)
    packages = document.get("package", [])
    for index in reversed(range(len(packages))):
        if normalize(packages[index]["name"]) in names:
            del packages[index]
    return tomlkit.dumps(document)


def with_index(torch_lock: str, index_url: str, torch_index_url: str, build: str) -> str:
    """Return a torch lock with a mirror instead of its own index, if there is one."""
    own = re.search(r"^--index-url .*\n", torch_lock, re.MULTILINE)
    mirror = f"{torch_index_url.rstrip('/')}/{build}" if own and torch_index_url else ""
    if not own:
        mirror = index_url
    if not mirror:
        return torch_lock
    return f"--index-url {mirror}\n" + (torch_lock.replace(own.group(), "") if own else torch_lock)


def poetry_check(folder: Path) -> None:
    """Raise LockError if the folder's poetry.lock is out of date with its pyproject.toml."""
    check = subprocess.run(
        ["poetry", "check", "--lock", "-C", folder], capture_output=True, text=True, check=False
    )
    if "lock" in check.stderr and "changed significantly" in check.stderr:
        raise LockError(
            "poetry.lock is out of date with pyproject.toml: run `./crate lock`, then build again."
        )
    if check.returncode:
        raise LockError(
            "Poetry refuses pyproject.toml or poetry.lock: "
            + " ".join((check.stderr or check.stdout).split())
            + ". Mend them, run `poetry check --lock`, then build again."
        )


@readable()
def split_torch(
    project: Path, out: Path, build: str, index_url: str = "", torch_index_url: str = ""
) -> None:
    """Check torch's lock in ``project`` and write to ``out`` what torch's stages install.

    Writes out/torch.txt; out/torch-needs.txt; and out/extensions with two requirements files. All
    but the first may be empty. Raises LockError, with nothing written.
    """
    if "@" in urlsplit(torch_index_url).netloc:
        raise LockError(
            "TORCH_INDEX_URL would stay readable in the image's history: take the password out "
            "and hand it in with --secret id=netrc,src=$HOME/.netrc."
        )
    lock_file = project / "locks" / f"torch.{build}.txt"
    if not lock_file.is_file():
        builds = sorted(p.name[6:-4] for p in lock_file.parent.glob("torch.*.txt"))
        raise LockError(
            f"TORCH_BUILD={build} has no lock {lock_file.relative_to(project)} (there are: "
            f"{', '.join(builds) or 'none'}): make it with `./crate lock --build {build}`."
        )
    poetry_lock = read(project / "poetry.lock")
    pyproject = read(project / "pyproject.toml")
    torch_lock = lock_file.read_text()
    check_paths(poetry_lock)
    check_addresses((project / "poetry.lock").read_text())
    check_fit(build, torch_lock, poetry_lock)
    _, takes, made = extensions(pyproject, poetry_lock)
    _, needs_of_torch = torch_needs(poetry_lock)

    (out / "extensions").mkdir(parents=True)
    (out / "extensions" / "build.txt").write_text(takes)
    (out / "extensions" / "extensions.txt").write_text(made)
    (out / "torch-needs.txt").write_text(needs_of_torch)
    (out / "torch.txt").write_text(with_index(torch_lock, index_url, torch_index_url, build))


@readable()
def split_poetry(
    project: Path, out: Path, groups: str = "main", dev_groups: str = "", extras: str = ""
) -> None:
    """Check Poetry's lock in ``project`` and write to ``out`` what Poetry installs.

    Writes out/poetry with pyproject.toml, poetry.lock and the options of each `poetry install`.
    Raises LockError before it writes anything that a later stage could use.
    """
    import tomlkit  # comes with Poetry, which the stage `torch-locks` does not have

    poetry_lock = read(project / "poetry.lock")
    pyproject = read(project / "pyproject.toml")
    poetry_lock_text = (project / "poetry.lock").read_text()
    check_paths(poetry_lock)
    check_addresses((project / "pyproject.toml").read_text(), poetry_lock_text)
    found = options(pyproject, groups, dev_groups, extras)

    (out / "poetry" / PACKAGES).mkdir(parents=True)  # to mount it there
    (out / "poetry" / "pyproject.toml").write_text(tomlkit.dumps(for_poetry(pyproject)))
    (out / "poetry" / "poetry.lock").write_text(poetry_lock_text)
    poetry_check(out / "poetry")
    for name, text in found.items():
        (out / "poetry" / name).write_text(text + "\n")
    elsewhere = family(poetry_lock) | extensions(pyproject, poetry_lock)[0]
    elsewhere |= torch_needs(poetry_lock)[0]
    (out / "poetry" / "poetry.lock").write_text(without(poetry_lock_text, elsewhere))


def main() -> None:
    """Run as a command; see --help."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parts = parser.add_subparsers(required=True)
    torch, poetry = parts.add_parser("torch"), parts.add_parser("poetry")
    for part, function in ((torch, split_torch), (poetry, split_poetry)):
        part.set_defaults(function=function)
        part.add_argument("project", type=Path, help="folder with pyproject.toml and the locks")
        part.add_argument("out", type=Path, help="folder to write the parts to")
    torch.add_argument("--build", required=True, help="the torch build, such as cu130 or cpu")
    torch.add_argument("--index-url", default="", help="mirror of the default package index")
    torch.add_argument("--torch-index-url", default="", help="mirror of PyTorch's index")
    poetry.add_argument("--groups", default="main", help="dependency groups of both images")
    poetry.add_argument("--dev-groups", default="", help="more groups of `dev`")
    poetry.add_argument("--extras", default="", help="extras of both images")
    arguments = vars(parser.parse_args())
    try:
        arguments.pop("function")(**arguments)
    except LockError as error:
        sys.exit(f"ERROR: {error}")


if __name__ == "__main__":
    main()
