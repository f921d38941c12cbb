"""Write the locks: poetry.lock, locks/torch.<build>.txt, and locks/*.txt of each locks/*.in.

`./crate lock` updates all locks for pyproject.toml. With `--build cu126` it updates poetry.lock and
that build only, and adds the build if it is new. Versions that still fit stay. A lock is replaced
as a whole or not at all. `./crate add` and `./crate remove` change poetry.lock only.

uv resolves the family on the index that has the build. poetry.lock is the constraint, so that
packages in both locks (numpy, jinja2 …) have one version.
"""

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote

import tomlkit
from packaging.requirements import Requirement

from torchcrate import build as build_script
from torchcrate import host, tools
from torchcrate.host import TOP
from torchcrate.stages.locks import split_locks
from torchcrate.stages.locks.split_locks import PACKAGES, PYTORCH, ROOTS, LockError

# The index to read. The locks always name PyTorch's own.
TORCH_INDEX_URL = (os.environ.get("TORCH_INDEX_URL") or PYTORCH).rstrip("/")
# The images' platforms: glibc 2.28, as torch's wheels need. Debian 12 and Ubuntu are newer.
PLATFORMS = {"x86_64": "x86_64-manylinux_2_28", "aarch64": "aarch64-manylinux_2_28"}
NEW = 16  # packages that the stage `new` may have
NO_INDEX = "# Its index is the default one."

Wheels = dict[str, tuple[str, set[str]]]  # name: version, sha256 digests


def is_default(build: str, poetry_lock: dict) -> bool:
    """Return whether the default index has this build.

    Poetry reads a package's dependencies from one of its wheels. torch 2.0's wheels differ: if
    Poetry read one for another system, poetry.lock has no CUDA. Then uv says what Linux's wheel
    needs.
    """
    versions = split_locks.versions(poetry_lock)
    found = split_locks.cuda_build({name: several[0] for name, several in versions.items()})
    if not found and re.fullmatch(r"cu\d+", build):
        try:
            torch = f"torch==={roots(poetry_lock)['torch']}"
            text = uv_compile([torch], [], "--python-platform", PLATFORMS["x86_64"])
        except LockError:  # the default index has none
            return False
        found = split_locks.cuda_build(split_locks.pins(text))
    return build == found


def roots(poetry_lock: dict) -> dict[str, str]:
    """Return {name: version} of torch and its sisters in poetry.lock. Raises LockError without."""
    versions = split_locks.versions(poetry_lock)
    found = {name: versions[name] for name in ROOTS if name in versions}
    if "torch" not in found:
        raise LockError(split_locks.NO_TORCH)
    for name, several in found.items():
        if len(several) > 1:
            raise LockError(
                f"poetry.lock has {name} {' and '.join(several)} for Linux, and an image has one: "
                "leave one in pyproject.toml whose marker holds there, then run `./crate lock`."
            )
    return {name: version for name, (version,) in found.items()}


def uv_compile(requirements: list[str], constraints: list[str], *options: str) -> str:
    """Return the output of `uv pip compile`. Raises LockError with uv's message."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "in").write_text("\n".join(requirements))
        Path(folder, "constraints").write_text("\n".join(constraints))
        done = subprocess.run(
            [
                *("uv", "pip", "compile", "in", "--constraints", "constraints", "--quiet"),
                *("--python-version", "3.11", "--only-binary", ":all:", *options),
            ],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise LockError(done.stderr.strip())
    return done.stdout


def from_index(build: str, poetry_lock: dict, wheel_folder: Path | None) -> dict[str, Wheels]:
    """Return {machine: wheels} of everything that the build's torch needs, as uv resolves it."""
    wanted, family = roots(poetry_lock), split_locks.family(poetry_lock)
    mend = "If the package index is out of reach, name a mirror with --index-url URL."
    options = ["--format", "pylock.toml", "--index-strategy", "unsafe-best-match"]
    if wheel_folder:
        local = wheel_versions(wheel_folder, wanted, build)
        requirements = [f"{name}==={local[name]}" for name in wanted]
        options += ["--find-links", str(wheel_folder.resolve())]
    elif is_default(build, poetry_lock):
        family = set()  # poetry.lock has this build: keep its versions
        requirements = [f"{name}==={version}" for name, version in wanted.items()]
    else:
        requirements = [f"{name}=={version}+{build}" for name, version in wanted.items()]
        codec = wanted.get("torchcodec", "")
        if codec and build == "cpu" and split_locks.release(codec) < (0, 11):
            # These have no +cpu: https://download.pytorch.org/whl/torchcodec/
            requirements[list(wanted).index("torchcodec")] = f"torchcodec=={codec}"
        options += ["--index", f"{TORCH_INDEX_URL}/{build}"]
        mend = (
            f"If {TORCH_INDEX_URL}/{build} is out of reach, name a mirror with --torch-index-url "
            "URL, or a folder of wheels with --wheels FOLDER."
        )
    # Poetry locks some packages once for each set of platforms. uv chooses one itself.
    constraints = [
        f"{name}=={versions[0]}"
        for name, versions in split_locks.versions(poetry_lock).items()
        if len(versions) == 1 and name not in family and name not in wanted
    ]
    found: dict[str, Wheels] = {}
    for machine, platform in PLATFORMS.items():
        try:
            text = uv_compile(requirements, constraints, *options, "--python-platform", platform)
        except LockError as error:
            if found and "No solution found" in str(error):
                print(f"Build {build} has no wheels for {machine}: locked for {', '.join(found)}.")
                continue
            lacks = re.search(
                r"there is no version of (torch\w*)=+([^\s,]+)"
                r"|(torch\w*)=+(\S+) has no wheels with a matching",
                str(error),
            )
            if lacks:
                name, version = filter(None, lacks.groups())
                index = wheel_folder or (
                    f"{TORCH_INDEX_URL}/{build}" if "+" in version else "the default index"
                )
                raise LockError(
                    f"locks/torch.{build}.txt was not made, since {index} has no {name} "
                    f"{version} for Python 3.11: choose another version in pyproject.toml, or "
                    "another --build, and run `./crate lock` again."
                ) from error
            raise LockError(
                f"locks/torch.{build}.txt was not made. uv says:\n{error}\n{mend}"
            ) from error
        found[machine] = {
            split_locks.normalize(package["name"]): (
                package["version"],
                digests(package.get("wheels", [])),
            )
            for package in tomllib.loads(text)["packages"]
        }
    return found


def digests(wheels: list[dict]) -> set[str]:
    """Return the sha256 digests of a package's wheels: of those in the folder, if it has any.

    An index may have the same version, of another build.
    """
    local = [wheel for wheel in wheels if wheel.get("url", "file:").startswith("file:")]
    return {wheel["hashes"].get("sha256", "") for wheel in local or wheels}


def wheel_versions(folder: Path, wanted: dict[str, str], build: str) -> dict[str, str]:
    """Return {name: version} of the folder's wheels of torch and its sisters, with local parts.

    Of several local parts it takes the build's name. If the folder has torch in one other version
    only, such as a nightly one, it takes that. Raises LockError if the folder has none, or several
    to choose from.
    """
    there: dict[str, list[str]] = {name: [] for name in wanted}
    for wheel in sorted(folder.glob("*.whl")):
        name, _, rest = unquote(wheel.name).partition("-")
        if split_locks.normalize(name) in there:
            there[split_locks.normalize(name)].append(rest.partition("-")[0])
    found: dict[str, str] = {}
    for name, version in wanted.items():
        here = sorted(set(there[name]), key=lambda each: each.partition("+")[::-1])
        fits = [each for each in here if each.partition("+")[0] == version] or here
        fits = [each for each in fits if each.partition("+")[2] == build] or fits
        if not fits:
            raise LockError(f"{folder} has no wheel of {name} {version}, which poetry.lock wants.")
        if len(fits) > 1 and fits[0].partition("+")[0] != version:
            raise LockError(
                f"{folder} has {name} {' and '.join(fits)}, and none of them is {version}, which "
                "poetry.lock wants: leave only the one that you mean in the folder."
            )
        found[name] = fits[0]
    return found


def render(build: str, index: str, family: dict[str, Wheels], instead: dict[str, str]) -> str:
    """Return the text of locks/torch.<build>.txt: a requirements file with pip's hashes.

    ``instead`` is {name: version} of what poetry.lock has in another version.
    """
    lines = [index, f"# The torch family of build {build}, made by `./crate lock`. Do not edit."]
    lines += [f"{split_locks.INSTEAD} {name}=={version}" for name, version in instead.items()]
    return "\n".join([*lines, *pinned(family)]) + "\n"


def pinned(family: dict[str, Wheels]) -> list[str]:
    """Return the lines of a requirements file. Raises LockError without a digest for each wheel."""
    lines = []
    for name in sorted(set().union(*family.values())):
        machines = [machine for machine in family if name in family[machine]]
        for version in sorted({family[machine][name][0] for machine in machines}):
            of_version = [m for m in machines if family[m][name][0] == version]
            marker = ""
            if set(of_version) != set(PLATFORMS):
                marker = f' ; platform_machine == "{of_version[0]}"'
            digests = sorted(set().union(*(family[m][name][1] for m in of_version)))
            if not all(digests):
                raise LockError(f"The index names no sha256 digest for {name} {version}.")
            hashes = [f"    --hash=sha256:{digest}" for digest in digests]
            # A folder of wheels may have 2.13.0 and 2.13.0+cpu, and `==` would take either.
            pin = "===" if name in ROOTS else "=="
            lines.append(" \\\n".join([f"{name}{pin}{version}{marker}", *hashes]))
    return lines


def torch_lock(build: str, poetry_lock: dict, wheels: Path | None) -> str:
    """Return the text of locks/torch.<build>.txt. Raises LockError if it cannot be made."""
    found = from_index(build, poetry_lock, wheels)
    with_poetry = split_locks.versions(poetry_lock).keys() - split_locks.family(poetry_lock)
    family = {
        machine: {n: w for n, w in all_.items() if n not in with_poetry}
        for machine, all_ in found.items()
    }
    lacks = [
        name
        for name in sorted(set().union(*family.values()))
        if name not in ROOTS and not split_locks.BUILD_PACKAGE.fullmatch(name)
    ]
    if lacks:
        names = ", ".join(lacks)
        raise LockError(
            f"torch for {build} needs {names}, which poetry.lock lacks: run "
            f"`./crate add {' '.join(lacks)}`, then `./crate lock --build {build}`."
        )
    official = split_locks.OFFICIAL.fullmatch(build) and family["x86_64"]["torch"][0].endswith(
        f"+{build}"
    )
    index = f"--index-url {PYTORCH}/{build}" if official else NO_INDEX
    instead = {
        name: version
        for name, version in roots(poetry_lock).items()
        if family["x86_64"][name][0].partition("+")[0] != version
    }
    for name, version in instead.items():
        print(f"Note: {wheels} has {name} {family['x86_64'][name][0]}, taken instead of {version}.")
    return render(build, index, family, instead)


def compiler_lock(build: str, torch_lock: str) -> str:
    """Return the text of locks/nvcc.<build>.txt. Raises LockError if it cannot be made.

    NVIDIA's package cuda-toolkit, which torch needs, says which versions belong together.
    """
    pins = split_locks.pins(torch_lock)
    older = ".".join([*pins["nvidia-cuda-runtime"].split(".")[:2], "*"])  # torch 2.10 names none
    wanted = f"cuda-toolkit[nvcc,cccl,cudart]=={pins.get('cuda-toolkit', older)}"
    options = ("--format", "pylock.toml", "--python-platform")
    found: dict[str, Wheels] = {}
    for machine, platform in PLATFORMS.items():
        try:
            text = uv_compile([wanted], [f"{n}=={v}" for n, v in pins.items()], *options, platform)
        except LockError as error:
            raise LockError(
                f"locks/nvcc.{build}.txt was not made, with which the group "
                f"{split_locks.EXTENSIONS} is compiled. uv says:\n{error}\nIf the package index is "
                "out of reach, name a mirror with --index-url URL."
            ) from error
        found[machine] = {
            package["name"]: (package["version"], digests(package["wheels"]))
            for package in tomllib.loads(text)["packages"]
            if package["name"] in split_locks.COMPILER
        }
    about = f"# NVIDIA's compiler for build {build}, made by `./crate lock`. Do not edit."
    return "\n".join([about, *pinned(found)]) + "\n"


def lock_compilers(builds: Iterable[str]) -> None:
    """Write locks/nvcc.<build>.txt of builds whose torch has a compiler, if anything is compiled.

    Remove those that nothing needs. One that fits stays. Raises LockError if one cannot be made.
    """
    for file in (TOP / "locks").glob("nvcc.*.txt"):
        if not file.with_name(file.name.replace("nvcc.", "torch.", 1)).is_file():
            file.unlink()
    compiled = split_locks.groups(split_locks.read(TOP / "pyproject.toml"))
    for build in builds:
        torch_lock = split_locks.read_text(TOP / "locks" / f"torch.{build}.txt")
        file = TOP / "locks" / f"nvcc.{build}.txt"
        if not compiled.get(split_locks.EXTENSIONS) or not split_locks.has_compiler(torch_lock):
            file.unlink(missing_ok=True)
            continue
        try:
            split_locks.check_compiler(build, torch_lock, file.read_text())
        except (LockError, OSError):
            replace(file, compiler_lock(build, torch_lock))


def lock_tools(source: Path) -> None:
    """Write the lock of one of locks/*.in. Versions that still fit stay."""
    target = source.with_suffix(".txt")
    before = target.read_bytes() if target.is_file() else b""
    code = host.run(
        [
            *("uv", "pip", "compile", source.name, "--output-file", target.name, "--quiet"),
            *("--universal", "--python-version", "3.11", "--generate-hashes", "--no-annotate"),
            *("--custom-compile-command", "./crate lock"),
        ],
        cwd=source.parent,
    )
    if code:
        raise LockError(f"{target.relative_to(TOP)} was not made (uv's message is above).")
    up_to_date = target.read_bytes() == before
    print(f"{target.relative_to(TOP)} {'is up to date' if up_to_date else 'written'}")


def with_relative_paths(pyproject_text: str, folder: Path) -> str:
    """Return a pyproject.toml with relative path dependencies in packages/.

    `poetry add ./packages/mine` writes the folder's full path, as the standard for [project] and
    [dependency-groups] asks. Poetry's own tables, which add to those, allow a relative path.
    """
    document = tomlkit.parse(pyproject_text)
    project = document.get("project", {})
    lists = [(project.get("dependencies", []), ("dependencies",))]
    for needs in project.get("optional-dependencies", {}).values():
        lists.append((needs, ("dependencies",)))
    for group, needs in document.get("dependency-groups", {}).items():
        lists.append((needs, ("group", group, "dependencies")))
    for needs, tables in lists:
        for index, need in enumerate(needs):
            if " @ file:" not in str(need):
                continue
            it = Requirement(str(need))
            path = it.url.removeprefix(f"{folder.as_uri()}/{PACKAGES}/")
            if path == it.url:
                continue
            name, it.url = it.name, None
            needs[index] = str(it)
            table = document
            for key in ("tool", "poetry", *tables):
                table = table.setdefault(key, tomlkit.table(is_super_table=key != "dependencies"))
            table[name] = tomlkit.inline_table().append("path", f"{PACKAGES}/{unquote(path)}")
    return tomlkit.dumps(document)


def relative_paths() -> bool:
    """Make the path dependencies in pyproject.toml relative and return whether it has changed."""
    file = TOP / "pyproject.toml"
    text = file.read_text()
    try:
        relative = with_relative_paths(text, TOP)
    except tomlkit.exceptions.ParseError:
        return False  # Poetry says what is wrong
    if relative != text:
        replace(file, relative)
    return relative != text


def settle(poetry_lock: dict) -> None:
    """Write the packages of the images to locks/settled.txt, if many are not there yet.

    The stage `new` installs those that are not. So it stays small, and the stage `settled` seldom
    changes.
    """
    mine = {*split_locks.listed(host.argument("DEPENDENCY_GROUPS")), split_locks.EXTENSIONS}
    names = {
        split_locks.normalize(package["name"])
        for package in poetry_lock.get("package", [])
        if mine & set(map(split_locks.normalize, package["groups"]))
    } - split_locks.family(poetry_lock)
    if len(names - split_locks.settled_names(TOP)) > NEW:
        about = "# What the stage `settled` installs. The stage `new` installs the other packages."
        replace(TOP / "locks/settled.txt", "\n".join([about, *sorted(names)]) + "\n")


def poetry_lock_command() -> None:
    """Run `poetry lock`. Raises LockError where it fails."""
    if host.run(["poetry", "lock"], cwd=TOP):
        raise LockError("poetry.lock was not made (Poetry's message is above).")


def replace(file: Path, text: str) -> None:
    """Replace a file as a whole or not at all. Print what happened. Raises LockError."""
    name = file.relative_to(TOP)
    if file.exists() and file.read_text() == text:
        print(f"{name} is up to date")
        return
    unfinished = file.with_suffix(".tmp")
    try:
        unfinished.write_text(text)
        unfinished.replace(file)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise LockError(f"{name} cannot be written ({error.strerror}): mend that first.") from None
    print(f"{name} written")


def moved_on(poetry_lock: dict, builds: set[str]) -> str:
    """Return a note if the default index has another build of torch than the project, or ""."""
    versions = {name: several[0] for name, several in split_locks.versions(poetry_lock).items()}
    there = split_locks.cuda_build(versions)
    if not there or there in builds or not builds - {"cpu"}:
        return ""
    return (
        f"Note: the default index has torch {versions.get('torch')} as build {there}. For that one "
        f"run `./crate lock --build {there}`, then put {there} in place of "
        f"{', '.join(sorted(builds - {'cpu'}))}: `ARG TORCH_BUILD` in Dockerfile and "
        "docker-bake.hcl, `build:` in .github/workflows/images.yml."
    )


@split_locks.readable()
def make(only: str, wheels: Path | None) -> list[LockError]:
    """Make the locks. Return why some could not be made. Raises LockError if none could."""
    relative_paths()
    poetry_lock_command()
    poetry_lock = split_locks.read_lock(TOP)
    split_locks.check_sisters(poetry_lock)
    settle(poetry_lock)
    errors: list[LockError] = []
    builds = set(build_script.builds())
    for build in sorted({only} if only else builds):
        try:
            file = TOP / "locks" / f"torch.{build}.txt"
            if not only and not split_locks.OFFICIAL.fullmatch(build):
                split_locks.check_fit(build, file.read_text(), poetry_lock)
                print(f"locks/{file.name} fits; what it names came from a folder of wheels")
            else:
                replace(file, torch_lock(build, poetry_lock, wheels))
            lock_compilers([build])
        except LockError as error:
            errors.append(error)
    if errors and not only and moved_on(poetry_lock, builds):
        print(moved_on(poetry_lock, builds))
    for source in (*sorted(TOP.glob("locks/*.in")), *(f.with_suffix(".in") for f in tools.MORE)):
        lock_tools(source)
    for build in sorted(builds - {only}):
        text = (TOP / "locks" / f"torch.{build}.txt").read_text()
        try:
            split_locks.check_fit(build, text, poetry_lock)
        except LockError as error:
            print(f"Note: {error}")
    return errors


def add(options: Namespace) -> None:
    """Run `./crate add`."""
    change("add", options.words)


def remove(options: Namespace) -> None:
    """Run `./crate remove`."""
    change("remove", options.words)


def with_build_group() -> None:
    """Add the group with what most extensions' builds import, if pyproject.toml has none."""
    file = TOP / "pyproject.toml"
    try:
        document = tomlkit.parse(file.read_text())
    except tomlkit.exceptions.ParseError:
        return  # Poetry says what is wrong
    if split_locks.EXTENSIONS_BUILD not in split_locks.groups(document):
        group = document.setdefault("dependency-groups", tomlkit.table())
        group[split_locks.EXTENSIONS_BUILD] = ["setuptools", "wheel", "packaging", "ninja"]
        replace(file, tomlkit.dumps(document))


def change(command: str, words: list[str]) -> None:
    """Let Poetry add or remove packages: pyproject.toml and poetry.lock change, both or neither."""
    if not words:
        host.fail(f"say which package: `./crate {command} lightning`.")
    files = [TOP / "pyproject.toml", TOP / "poetry.lock", TOP / "locks/settled.txt"]
    files += [TOP / f"locks/nvcc.{build}.txt" for build in build_script.builds()]
    before = {file: file.read_bytes() if file.is_file() else None for file in files}
    try:
        split_locks.check_addresses(*words, *(text.decode() for text in before.values() if text))
        named = {split_locks.normalize(re.sub("^(-G|--group)=?", "", word)) for word in words}
        if command == "add" and split_locks.EXTENSIONS in named:
            with_build_group()
        if host.run(["poetry", command, "--lock", *words], cwd=TOP):
            raise LockError(f"`poetry {command}` failed (Poetry's message is above).")
        if relative_paths():
            poetry_lock_command()
        settle(split_locks.read_lock(TOP))
        lock_compilers(build_script.builds())
    except BaseException as error:  # Ctrl-C too
        for file, content in before.items():
            if content is None:
                file.unlink(missing_ok=True)
            elif not file.is_file() or file.read_bytes() != content:
                file.write_bytes(content)
        if isinstance(error, LockError):
            host.fail(str(error))
        raise


def main(options: Namespace) -> int:
    """Run the command. Return 1 if a lock was not made."""
    only = options.build
    wheels = Path(options.wheels) if options.wheels else None
    errors: list[LockError] = []
    try:
        if only and not split_locks.BUILD_NAME.fullmatch(only):
            raise LockError(
                f"--build {only} is no name of a torch build: give one such as cpu, cu126 or "
                "rocm6.4, or a name of your own in small letters and digits."
            )
        if wheels and not only:
            raise LockError("--wheels goes with one build: add --build NAME.")
        if wheels and not wheels.is_dir():
            raise LockError(f"{wheels} is no folder: name the one with torch's wheels.")
        split_locks.check_addresses((TOP / "pyproject.toml").read_text())
        errors = make(only, wheels)
    except LockError as error:
        errors.append(error)
    for error in errors:
        print(host.masked(f"ERROR: {error}"), file=sys.stderr)
    return int(bool(errors))
