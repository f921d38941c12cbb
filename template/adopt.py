"""Add the images to an existing project: `./crate adopt --into ../project`.

The project must use Poetry and be in git. The output names each of its files that changes. The
command plans everything before it writes anything. If it must stop, it prints one sentence and
leaves the project as it was.
"""

import json
import re
import shlex
import sys
import tomllib
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

import tomlkit
from packaging.requirements import Requirement
from poetry.core.constraints.version import parse_constraint
from poetry.core.factory import Factory as CoreFactory
from poetry.core.packages.project_package import ProjectPackage
from poetry.factory import Factory

from template.init import ABOUT_TEMPLATE, RECORD, InitError, git, read_answers, record
from torchcrate.check import cpu_dockerfile
from torchcrate.host import TOP
from torchcrate.stages.locks import dist_info, split_locks
from torchcrate.stages.locks.split_locks import ROOTS, LockError, extras_with

PYTHON = ">=3.11,<3.12"  # the images'

# What comes as it is: the machinery, the command, the contract but for what the sample promises.
OURS = re.compile(
    r"torchcrate/.+|crate|tests/image/(?!.+/test_sample).+\.py|apt/.+\.txt|packages/README\.md"
    r"|locks/(poetry|uv)\.(in|txt)"
)
# Not copied: they edit or refuse the project's own files.
NOT_HOOKS = {
    *("end-of-file", "large-files", "ruff-check", "ruff-format", "trailing-whitespace"),
}
# Top-level folders and files with Python that is not the project's code, unless --code names them.
NOT_CODE = {
    *("apt", "benchmarks", "build", "dist", "doc", "docker", "docs", "examples", "locks"),
    *("notebooks", "packages", "scripts", "test", "tests", "torchcrate"),
    *("conftest.py", "fabfile.py", "noxfile.py", "setup.py", "tasks.py"),
}
WORKFLOWS = ".github/workflows"
CALLED = "image-tests.yml"  # by image.yml
# What `./crate` writes, and Python's bytecode beside torchcrate's modules.
IGNORED = ("/.tools/", "/results/", "/reports/", "__pycache__/")


class AdoptError(Exception):
    """The project cannot be adopted; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class Project:
    """What the images need to know about a project."""

    folder: Path
    name: str  # of the Docker repository
    build: str  # the GPU image's torch build, such as cu130
    code: dict[str, str]  # {path in the project: path below /app/src, "" for /app/src itself}
    command: list[str]  # what the container starts
    groups: list[str]  # for development
    extras: list[str]  # of the images: the one with torch
    readmes: list[str]  # Poetry refuses a pyproject.toml that names a missing readme
    has_tests: bool
    has_pytest: bool


@dataclass
class Plan:
    """What to write, and what to report."""

    files: dict[str, str] = field(default_factory=dict)  # {path: text}
    changed: dict[str, str] = field(default_factory=dict)  # {path in the project: what changes}
    kept: dict[str, str] = field(default_factory=dict)  # {path in the project: what to do there}
    gone: list[str] = field(default_factory=list)  # files in torchcrate/ to delete


# ---- what the project is ----


def tracked(folder: Path) -> list[str]:
    """Return the files in a folder that git tracks or would track."""
    arguments = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = git(folder, *arguments).split("\0")
    return sorted({name for name in names if name and (folder / name).is_file()})


def table(data: dict, *keys: str) -> dict:
    """Return a table in parsed TOML, or {} if there is none."""
    for key in keys:
        data = data.get(key)
        if not isinstance(data, dict):
            return {}
    return data


def words(text: str) -> list[str]:
    """Return the words of a command line. Raises AdoptError if a quote is not closed."""
    try:
        return shlex.split(text)
    except ValueError:
        raise AdoptError(f"{text} has a quote that is not closed: close it.") from None


def read_pyproject(folder: Path) -> tuple[ProjectPackage, dict]:
    """Return a project's package as Poetry sees it, and its pyproject.toml.

    Raises AdoptError if there is none, or if Poetry does not manage it.
    """
    file = folder / "pyproject.toml"
    if not folder.is_dir():
        raise AdoptError(f"{folder} is not a folder: name the project's folder with --into.")
    if not file.is_file():
        raise AdoptError(f"{folder} has no pyproject.toml: run `poetry init` there.")
    try:
        pyproject = tomllib.loads(file.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise AdoptError(f"{file} cannot be read ({error}): correct it.") from None
    if not (
        table(pyproject, "tool", "poetry")
        or "poetry" in str(table(pyproject, "build-system").get("build-backend"))
        or (folder / "poetry.lock").is_file()
    ):
        raise AdoptError(
            f"{file} is not Poetry's: add a table [tool.poetry] with `package-mode = false` to use "
            "Poetry, and run `poetry lock` there."
        )
    refused = Factory.validate(pyproject)["errors"]
    if refused:
        raise AdoptError(
            f"Poetry refuses {file} ({'; '.join(refused)}): correct what `poetry check` reports."
        )
    try:
        return CoreFactory().create_poetry(folder).package, pyproject
    except Exception as error:  # Poetry raises many kinds
        said = " ".join(str(error).split())
        raise AdoptError(
            f"Poetry refuses {file} ({said}): correct what `poetry check` reports there."
        ) from None


def check_python(file: Path, package: ProjectPackage) -> None:
    """Raise AdoptError if a project excludes the images' Python."""
    if not package.python_constraint.allows_any(parse_constraint(PYTHON)):
        raise AdoptError(
            f"{file} wants Python {package.python_constraint} and the images have 3.11: let it in "
            "too where the file has requires-python (or python), then run `poetry lock`."
        )


def check_torch(file: Path, package: ProjectPackage, pyproject: dict) -> None:
    """Raise AdoptError unless a project names torch, and its sisters, without a build."""
    standard = "dependencies" in table(pyproject, "project")
    family = [dependency for dependency in package.all_requires if dependency.name in ROOTS]
    torch = [dependency for dependency in family if dependency.name == "torch"]
    if not torch:
        raise AdoptError(f"{file} does not name torch: run `poetry add torch==VERSION` there.")
    if not any("main" in dependency.groups for dependency in torch):
        raise AdoptError(
            f"{file} names torch only in the group {', '.join(sorted(torch[0].groups))}: move it "
            "to the project's dependencies, then run `poetry lock` there."
        )
    for dependency in family:
        source = dependency.source_name or dependency.source_url
        source = None if source == "pypi" else source  # Poetry's name of the default index
        if source or "+" in str(dependency.constraint):
            name = dependency.name
            example = f'"{name} (==2.0.1)"' if standard else f'{name} = "2.0.1"'
            raise AdoptError(
                f"{file} takes {dependency.name} {f'from {source}' if source else 'of one build'}, "
                "but locks/torch.<build>.txt chooses the build: name only the public version, such "
                f"as {example}, then run `poetry lock` there."
            )


def check_paths(file: Path, package: ProjectPackage) -> None:
    """Raise AdoptError for a path dependency that an image cannot have."""
    for dependency in package.all_requires:
        if dependency.is_directory() or dependency.is_file():
            source = {"type": "directory", "url": PurePosixPath(dependency.path).as_posix()}
            develop = getattr(dependency, "develop", False)
            found = {"name": dependency.name, "source": source, "develop": develop}
            try:
                split_locks.check_paths({"package": [found]})
            except LockError as error:  # before the project has a ./crate
                raise AdoptError(f"{file}: {error}".replace("./crate add", "poetry add")) from None


def check_lock(folder: Path, pyproject: dict) -> None:
    """Raise AdoptError if poetry.lock cannot be read or is out of date."""
    if not (folder / "poetry.lock").is_file():
        return
    try:
        with split_locks.readable():
            poetry_lock = split_locks.read(folder / "poetry.lock")
            split_locks.versions(poetry_lock)
            split_locks.check_content_hash(pyproject, poetry_lock)
    except LockError as error:
        raise AdoptError(
            f"{folder / 'poetry.lock'} cannot be taken as it is: run `poetry lock` there. ({error})"
        ) from None


def gpu_build(folder: Path, named: str | None) -> str:
    """Return the GPU build: the named one, or else the one in poetry.lock.

    Raises AdoptError if there is neither.
    """
    if named:
        if not split_locks.BUILD_NAME.fullmatch(named) or named == "cpu":
            raise AdoptError(f"--build {named} is not a GPU build: name one like cu126 or rocm6.4.")
        return named
    lock = folder / "poetry.lock"
    packages = split_locks.read(lock).get("package", []) if lock.is_file() else []
    versions = {package["name"]: package["version"] for package in packages}
    for name, version in versions.items():
        if re.fullmatch(r"nvidia-cuda-runtime(-cu\d+)?", name):
            return "cu" + "".join(version.split(".")[:2])
    raise AdoptError(
        f"{lock} does not say which GPU build of torch this project uses: run `poetry lock` there, "
        "or name the build, such as --build cu126."
    )


def find_code(files: list[str], pyproject: dict, named: str | None) -> dict[str, str]:
    """Return {path of the code in the project: its path below /app/src}.

    The code is what `named` says. Without it: the packages in pyproject.toml, else src, else each
    folder with Python in it, and the scripts beside them. Raises AdoptError if there is none.
    """
    paths = [PurePosixPath(name) for name in files]
    python = [path for path in paths if path.suffix == ".py"]
    if named:
        sources = [PurePosixPath(name).as_posix() for name in words(named)]
        for source in sources:
            inside = any(path.is_relative_to(source) for path in paths)
            if source == "." or not inside:
                raise AdoptError(
                    f"--code names {source}, but git has no such file or folder of the project: "
                    "name what Python must find, such as --code 'mypackage train.py'."
                )
    else:
        packages = table(pyproject, "tool", "poetry").get("packages", [])
        sources = [
            PurePosixPath(p.get("from", "."), *PurePosixPath(p["include"]).parts[:1]).as_posix()
            for p in packages
        ]
        sources = [source for source in sources if source != "."]  # which is no one place
        sources = ["src" if source.startswith("src/") else source for source in sources]
        if not sources and any(path.parts[0] == "src" for path in python):
            sources = ["src"]
        folders = {path.parts[0] for path in python if len(path.parts) == 2} - NOT_CODE
        sources = sources or sorted(name for name in folders if not name.startswith("."))
        scripts = {path.name for path in python if len(path.parts) == 1} - NOT_CODE
        sources += sorted(scripts)
    code = {name: "" if name == "src" else PurePosixPath(name).name for name in sources}
    strange = [
        name
        for name in code
        if not re.fullmatch(r"[\w.][\w./-]*", name)
        or not any(path.is_relative_to(name) for path in paths)
    ]
    if not code or strange or len(set(code.values())) < len(code):
        found = f"cannot copy {', '.join(code)}" if code else "found none"
        raise AdoptError(
            f"adopt looked for your code in pyproject.toml, in src and beside them, and {found}: "
            "name it with --code, such as --code 'mypackage train.py'."
        )
    return code


def find_command(
    files: list[str], code: dict[str, str], pyproject: dict, named: str | None
) -> list[str]:
    """Return the command that the container starts: `named`, or else one found in the project."""
    if named is not None:
        if not words(named):
            raise AdoptError("--command is empty: say what the container starts, or leave it out.")
        return words(named)
    name, _ = dist_info.named(pyproject)
    scripts = dist_info.entry_points(pyproject).get("console_scripts", {}) if name else {}
    if scripts:
        return [name if name in scripts else next(iter(scripts))]
    modules = {}  # {module for `python -m`: its rank}
    for name in files:
        for source, target in code.items():
            if name == source or name.startswith(f"{source}/"):
                path = PurePosixPath(target) / name[len(source) :].lstrip("/")
                if path.name == "__main__.py" and len(path.parts) > 1:
                    modules[".".join(path.parent.parts)] = (0, len(path.parts), str(path))
                elif len(path.parts) == 1 and path.suffix == ".py" and path.name != "__init__.py":
                    usual = ("train.py", "main.py", "run.py")
                    rank = usual.index(path.name) if path.name in usual else len(usual)
                    modules[path.stem] = (1, rank, str(path))
    return ["python", "-m", min(modules, key=modules.get)] if modules else ["python"]


def read_project(
    folder: Path, build: str | None, code: str | None, command: str | None
) -> tuple[Project, dict]:
    """Return what the images need to know about the project in a folder, and its pyproject.toml.

    Raises AdoptError if it cannot be adopted.
    """
    package, pyproject = read_pyproject(folder)
    if folder.resolve() == TOP:
        raise AdoptError("--into names this repository itself: name another project's folder.")
    if not git(folder, "rev-parse", "HEAD"):
        raise AdoptError(
            f"{folder} is not in git, so you could not undo this: run `git init && git add . && "
            "git commit -m Start` there."
        )
    file, problems = folder / "pyproject.toml", []
    for check in (
        partial(check_python, file, package),
        partial(check_torch, file, package, pyproject),
        partial(check_paths, file, package),
        partial(check_lock, folder, pyproject),
    ):
        try:
            check()
        except AdoptError as error:
            problems.append(str(error))
    if problems:
        raise AdoptError("\nERROR: ".join(problems))
    files = tracked(folder)
    found = find_code(files, pyproject, code)
    groups = package.dependency_group_names(include_optional=False) - {"main"}
    top = folder.resolve()
    readmes = [path.resolve() for path in package.readmes]
    readmes = [str(path.relative_to(top)) for path in readmes if path.is_relative_to(top)]
    tests = [name for name in files if re.fullmatch(r"(tests/(?!image/)|test_).+\.py", name)]
    torch = next(dependency for dependency in package.all_requires if dependency.name == "torch")
    extras = extras_with(pyproject, "torch")
    name = table(pyproject, "project").get("name")
    name = name or table(pyproject, "tool", "poetry").get("name") or top.name
    project = Project(
        folder=folder,
        name=re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "project",
        build=gpu_build(folder, build),
        code=found,
        command=find_command(files, found, pyproject, command),
        groups=sorted(groups),
        extras=extras[:1] if torch.is_optional() else [],
        readmes=[name for name in readmes if name in files],
        has_tests=any(name.startswith("tests/") for name in tests),
        has_pytest=bool(tests) or any(d.name == "pytest" for d in package.all_requires),
    )
    return project, pyproject


# ---- our files, changed for the project ----


def swap(text: str, pattern: str, new: str) -> str:
    """Return our text with a pattern's match replaced. Raises AdoptError unless there is one."""
    found, count = re.subn(pattern, lambda _: new, text, flags=re.MULTILINE)
    if count != 1:
        raise AdoptError(
            f"{TOP} has been edited where this command adapts it ({count} times {pattern}): run "
            "the command in a fresh clone of the template."
        )
    return found


def dockerfile(text: str, project: Project) -> str:
    """Return the Dockerfile for the project's code, groups and torch."""
    runtime = [f"COPY {source} /layers/1/app/src/{to}" for source, to in project.code.items()]
    runtime = [line.removesuffix("/") for line in runtime]
    text = swap(text, r"^COPY src /layers/1/app/src$", "\n".join(runtime))
    dev = [f"COPY {name} {name}" for name in (*project.readmes, *project.code)]
    linked = [f"/app/{source}" for source, to in project.code.items() if to]
    if linked and "src" not in project.code:
        dev.append("# The code has its paths from the project. Python finds it through /app/src.")
        dev.append(f"RUN mkdir src && ln -s {' '.join(linked)} src/")
    text = swap(text, r"^COPY src src$", "\n".join(dev))
    if not project.has_tests:
        text = swap(text, r"^COPY tests tests\n", "")
    if "" not in project.code.values():  # no one folder has all the code, as src would
        text = swap(text, r"(?<=/hold-torch\.sh /mnt/torch\.txt )src$", ".")
    text = swap(text, r"^CMD \[(?!\"bash\").*\]$", f"CMD {json.dumps(project.command)}")
    text = swap(text, r"^ARG EXTRAS=.*", f"ARG EXTRAS={','.join(project.extras)}")
    text = swap(text, r"^ARG DEV_GROUPS=.*", f"ARG DEV_GROUPS={','.join(project.groups)}")
    return swap(text, r"^ARG TORCH_BUILD=.+", f"ARG TORCH_BUILD={project.build}")


def dockerignore(text: str, project: Project) -> str:
    """Return the .dockerignore, with the project's code let in."""
    let_in = "\n".join(f"!{name}" for name in (*project.readmes, *project.code))
    text = swap(text, r"^!src$", let_in)
    return text if project.has_tests else swap(text, r"^!tests\n", "")


def builds(text: str, build: str) -> str:
    """Return text with the project's GPU build in place of the template's."""
    own = re.search(r"^ARG TORCH_BUILD=(.+)", (TOP / "Dockerfile").read_text(), re.MULTILINE)
    return re.sub(rf"\b{re.escape(own.group(1))}\b", build, text)


def bake_file(text: str, project: Project) -> str:
    """Return docker-bake.hcl with the project's name and torch build."""
    text = swap(text, r'(?<="IMAGE" \{ default = ").+(?=" \})', project.name)
    return builds(text, project.build)


def workflows() -> dict[str, str]:
    """Return the workflow and the one that it calls, made of three of ours."""
    ci, images, weekly = (
        ABOUT_TEMPLATE.sub("", (TOP / WORKFLOWS / name).read_text())
        for name in ("ci.yml", "images.yml", "weekly.yml")
    )
    head, _, jobs = ci.partition("\njobs:\n")
    about = "# The tests build the GPU and the CPU image and look inside.\n"
    head = swap(head, r"\A(# .*\n)+", about)
    head = swap(head, r"^name: .*", "name: image")
    head = swap(head, r"branches: \[main\]\n    tags: .*", "branches: [main, master]")
    calls = jobs.partition("\n  publish:")[0]
    calls = calls[calls.index("  # A pull request reads ") :].rstrip().replace("images.yml", CALLED)

    job = images.partition("      - name: Set VERSION\n")[0]
    job = swap(job, r"\A(# .*\n)+", "# Lint, build all images with the cache, and test them.\n")
    job = swap(job, r"^name: .*", "name: image-tests")
    job = swap(job, r" for main and tags$", " for a push")
    runner = "    runs-on: ubuntu-24.04\n    timeout-minutes: 90\n"
    job = swap(job, r"^    name: (.*\n)+?(?=    env:)", runner)
    # ./crate sets these.
    job = swap(job, r"^      TORCH_BUILD: .*\n      BUILDX_GIT_LABELS: .*\n", "")
    job = swap(job, r"^      REPOSITORY: .*\n      SBOM_GENERATOR: .*\n", "")
    job = swap(job, r"github\.ref == 'refs/heads/main'", "github.event_name == 'push'")
    steps = weekly[weekly.index("      - run: ./crate lint\n") :]
    # Who knows what it takes to run theirs?
    steps = swap(steps, r"^      - run: \./crate run\n      # .*\n      - run: mv .*\n", "")
    caller = f"{head}\njobs:\n{calls}\n"
    return {f"{WORKFLOWS}/image.yml": caller, f"{WORKFLOWS}/{CALLED}": job + steps}


def hooks(text: str) -> str:
    """Return pre-commit's configuration, with hooks only for the files that adopt writes."""
    head, *found = text.split("      - id: ")
    comment = "# All hooks but actionlint run from .tools/tests, which `./crate lint` sets up.\n"
    found = [hook for hook in found if hook.partition("\n")[0] not in NOT_HOOKS]
    text = "      - id: ".join([swap(head, r"\A(# .*\n)+", comment), *found])
    text = swap(text, r"^        files: \^Dockerfile$", r"        files: ^Dockerfile(\.cpu)?$")
    text = swap(text, r"^        types: \[shell\]$", "        files: ^torchcrate/.*\\.sh$")
    ours = r"        files: ^\.github/workflows/image(-tests)?\.yml$"
    return re.sub(r"^        files: \^\\\.github/.*", lambda _: ours, text, flags=re.MULTILINE)


def tools() -> dict[str, str]:
    """Return locks/tests.in and locks/tests.txt: the tests' tools, as in our poetry.lock."""
    pyproject = tomllib.loads((TOP / "pyproject.toml").read_text())
    wanted = [str(Requirement(need)) for need in pyproject["dependency-groups"]["image"]]
    # In uv's format, so that `./crate lock` in the project changes nothing.
    lines = ["# This file was autogenerated by uv via the following command:", "#    ./crate lock"]
    for package in tomllib.loads((TOP / "poetry.lock").read_text())["package"]:
        if "image" in package["groups"]:
            markers = package.get("markers", "")
            marker = markers.get("image", "") if isinstance(markers, dict) else markers
            marker = marker.replace('"', "'")
            pin = f"{package['name']}=={package['version']}{f' ; {marker}' if marker else ''}"
            hashes = sorted(f"    --hash={file['hash']}" for file in package["files"])
            lines.append(" \\\n".join([pin, *hashes]))
    needs = "# What `./crate test` needs on the host.\n" + "\n".join(sorted(wanted))
    return {"locks/tests.in": f"{needs}\n", "locks/tests.txt": "\n".join(lines) + "\n"}


def ours() -> dict[str, Path]:
    """Return the files that are copied unchanged."""
    found = {name: TOP / name for name in tracked(TOP) if OURS.fullmatch(name)}
    if not found:
        raise AdoptError(f"{TOP} is not in git, and git lists its files: clone it with git.")
    return found


# ---- the plan ----


def make_plan(project: Project, pyproject: dict, replace: bool) -> Plan:
    """Return what to write into a project. Raises AdoptError where a file of its own is in the way.

    Of a file that is there already and other than ours: .dockerignore and pre-commit's
    configuration stay, and ours have other names or are left to the user. A lock stays, since
    `./crate lock` may have made it. All others are in the way.
    """
    folder = project.folder

    def other(name: str, text: str) -> bool:
        file = folder / name
        return file.exists() and (not file.is_file() or file.read_bytes() != encode(text))

    our = {name: path.read_text() for name, path in ours().items()} | tools()
    our["crate"] = ABOUT_TEMPLATE.sub("", our["crate"])
    our |= {
        "docker-bake.hcl": bake_file((TOP / "docker-bake.hcl").read_text(), project),
        "Dockerfile": dockerfile((TOP / "Dockerfile").read_text(), project),
        ".dockerignore": dockerignore((TOP / ".dockerignore").read_text(), project),
        ".pre-commit-config.yaml": hooks((TOP / ".pre-commit-config.yaml").read_text()),
    } | workflows()
    our["Dockerfile.cpu"] = cpu_dockerfile(our["Dockerfile"])
    plan, before = Plan(), made_before(folder)
    locks = {name for name in our if name.startswith("locks/")}

    name = ".dockerignore"
    if name not in before and other(name, our[name]):
        text = our.pop(name)
        our |= {"Dockerfile.dockerignore": text, "Dockerfile.cpu.dockerignore": text}
        plan.kept[name] = "for our two Dockerfiles, Docker goes by the files beside them instead"
    name = ".pre-commit-config.yaml"
    if name not in before and other(name, our[name]):
        repos = our.pop(name).partition("repos:\n")[2].rstrip()
        plan.kept[name] = f"this, added to it, looks after the images:\n{repos}"
        workflow = f"{WORKFLOWS}/{CALLED}"
        our[workflow] = swap(our[workflow], r"^      - run: \./crate lint\n", "")
    top = Path(git(folder, "rev-parse", "--show-toplevel") or folder).resolve()
    if top != folder.resolve():
        for name in [n for n in our if n.startswith(WORKFLOWS)] + [".pre-commit-config.yaml"]:
            who = "GitHub" if WORKFLOWS in name else "pre-commit"
            if our.pop(name, None):
                plan.kept[name] = f"left out, since {who} reads this only at the top, in {top}"
    for name in sorted(locks):
        if (folder / name).is_file() and other(name, our[name]):
            plan.kept[name] = "`./crate lock` looks after it"
            del our[name]

    files = {str(path) for name in our for path in PurePosixPath(name).parents}
    blocked = sorted(name for name in files if (folder / name).is_file())
    blocked += sorted(name for name in our if (folder / name).is_dir())
    if blocked:
        kind = "file" if blocked[0] in our else "folder"
        found = ", ".join(blocked)
        raise AdoptError(f"{folder} has {found} where a {kind} of that name is to go: rename it.")
    in_the_way = sorted(name for name, text in our.items() if other(name, text))
    plan.gone = [n for n in tracked(folder) if n.startswith("torchcrate/") and n not in our]
    in_the_way += plan.gone
    if in_the_way and not replace:
        raise AdoptError(
            f"{folder} has {', '.join(in_the_way)} already, other than the template's: move what "
            "you need of it elsewhere, or have it replaced with --replace."
        )
    if not git(TOP, "status", "--porcelain"):
        tree = git(TOP, "rev-parse", "HEAD^{tree}")
        files = our.keys() | locks
        files = {"torchcrate" if name.startswith("torchcrate/") else name for name in files}
        files |= {name for name in before if (folder / name).exists()}
        our[RECORD] = record(answers(project), tree, files)
    else:
        plan.kept[RECORD] = f"left out, since {TOP} has changes that are not committed"
    plan.changed = dict.fromkeys(in_the_way, "replaced, as --replace says")
    plan.changed |= dict.fromkeys(plan.gone, "deleted, as --replace says: torchcrate/ has no such")
    our |= change_gitignore(plan, folder)
    if project.has_pytest:
        our |= change_pytest(plan, folder, pyproject)
    plan.files = {n: text for n, text in our.items() if not (folder / n).exists() or other(n, text)}
    return plan


def made_before(folder: Path) -> set[str]:
    """Return what an earlier adopt wrote into a project. Raises AdoptError without its record."""
    file = folder / RECORD
    if not file.exists():
        return set()
    try:
        return set(map(str, tomllib.loads(file.read_text())["files"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise AdoptError(
            f"{file} is not as adopt writes it: bring it back from git, or move it away."
        ) from None


def answers(project: Project) -> dict[str, str]:
    """Return the options with which adopt finds the same again."""
    code, command = shlex.join(project.code), shlex.join(project.command)
    return {"build": project.build, "code": code, "command": command}


def decode(file: Path) -> str:
    """Return a file's text. Line ends and bytes that are not UTF-8 survive until `encode`."""
    return file.read_bytes().decode(errors="surrogateescape")


def encode(text: str) -> bytes:
    """Return the bytes of a text that `decode` returned."""
    return text.encode(errors="surrogateescape")


def change_gitignore(plan: Plan, folder: Path) -> dict[str, str]:
    """Return {.gitignore: its text with what `./crate` writes}, and note it in the plan.

    {} if it has all lines already.
    """
    file = folder / ".gitignore"
    before = decode(file) if file.exists() else ""
    have = {line.strip().strip("/") for line in before.splitlines()}
    missing = [name for name in IGNORED if name.strip("/") not in have]
    if not missing:
        return {}
    if before:
        plan.changed[file.name] = f"{', '.join(missing)} added"
    gap = "" if not before else "\n" if before.endswith("\n") else "\n\n"
    comment = "# What `./crate` sets up and writes for the images"
    return {file.name: before + gap + "\n".join([comment, *missing, ""])}


def change_pytest(plan: Plan, folder: Path, pyproject: dict) -> dict[str, str]:
    """Return {pyproject.toml: its text, so that a plain `pytest` skips tests/image}.

    Those tests have their own environment. {} if pyproject.toml does so already. {} also if pytest
    reads another file: the plan then says what to add there.
    """
    option = "--ignore=tests/image"
    tool = table(pyproject, "tool", "pytest")
    native = bool(tool.keys() - {"ini_options"})  # pytest 9's table: not both
    options = tool if native else tool.get("ini_options")
    if not isinstance(options, dict | None):
        raise AdoptError("[tool.pytest] ini_options in pyproject.toml is not a table: correct it.")
    # In pytest's order: https://docs.pytest.org/en/stable/reference/customize.html
    first = ["pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini"]
    for name in first + ([] if options else ["tox.ini", "setup.cfg"]):
        text = decode(folder / name) if (folder / name).is_file() else None
        if text is None or not (name in first or re.search(r"(?m)^\[(tool:)?pytest\]", text)):
            continue
        if option not in text:
            plan.kept[name] = f"add {option} to its addopts, so that a plain `pytest` skips it"
        return {}
    before = (options or {}).get("addopts", [] if native else "")
    if option in before if isinstance(before, list) else option in str(before):
        return {}
    text = decode(folder / "pyproject.toml")
    if options is None:
        text = text.rstrip("\n") + "\n\n[tool.pytest.ini_options]\naddopts = "
        text += f'"{option}" # those run on the host\n'
    else:
        document = tomlkit.parse(text)
        found = document["tool"]["pytest"]
        found = found if native else found["ini_options"]
        if isinstance(before, list):
            found.setdefault("addopts", tomlkit.array()).append(option)
        else:
            found["addopts"] = f"{before} {option}".strip()
        text = tomlkit.dumps(document)
    plan.changed["pyproject.toml"] = f"{option} added to pytest's addopts"
    return {"pyproject.toml": text}


def write(plan: Plan, folder: Path) -> None:
    """Write the plan's files, or leave the project as it was."""
    undo: list[Callable[[], object]] = []
    try:
        for name in plan.gone:
            target = folder / name
            undo.append(partial(target.write_bytes, target.read_bytes()))
            target.unlink()
        for name, text in plan.files.items():
            target = folder / name
            for parent in reversed(target.parents):
                if not parent.exists():
                    parent.mkdir()
                    undo.append(parent.rmdir)
            if target.exists():
                undo.append(partial(target.write_bytes, target.read_bytes()))
                target.write_bytes(encode(text))
            else:
                with target.open("xb") as file:
                    undo.append(target.unlink)
                    file.write(encode(text))
            if (TOP / name).is_file():
                target.chmod((TOP / name).stat().st_mode & 0o777)
    except BaseException:  # Ctrl-C too
        for step in reversed(undo):
            step()
        raise


def report(plan: Plan, project: Project) -> str:
    """Return what was done, what was left alone, and what to do next."""
    counts: dict[str, int] = {}
    for name in sorted(plan.files.keys() - plan.changed.keys()):
        top, slash, _ = name.partition("/")
        counts[top + slash] = counts.get(top + slash, 0) + 1
    written = [f"{name} ({n})" if name.endswith("/") else name for name, n in counts.items()]
    lines = [f"Written: {', '.join(written)}"]
    lines += [f"Changed: {name}: {what}" for name, what in plan.changed.items()]
    lines += [f"Left alone: {name}: {what}" for name, what in plan.kept.items()]
    locks = project.folder / "locks"
    builds_ = [b for b in (project.build, "cpu") if not (locks / f"torch.{b}.txt").exists()]
    command = shlex.join(project.command)
    return "\n".join(
        [
            *lines,
            f"Your code: {', '.join(project.code)} (if not, say --code 'PATHS')",
            f"The container starts: {command} (if not, say --command 'COMMAND')",
            *(f"Extra in the images: {extra}, which has torch" for extra in project.extras),
            f"Groups in the dev image: {', '.join(project.groups) or 'none'}",
            "Next:",
            f"  cd {shlex.quote(str(project.folder))}",
            *(f"  ./crate lock --build {build}" for build in builds_),
            "  ./crate run --build cpu",
            "  ./crate test",
            "The manual is torchcrate/README.md.",
        ]
    )


def main(options: Namespace) -> None:
    """Run `./crate adopt`."""
    try:
        folder = Path(options.into)
        known = read_answers(Path(options.answers)) if options.answers else {}
        told = {name: getattr(options, name) or known.get(name) for name in ("build", "code")}
        command = known.get("command") if options.command is None else options.command
        project, pyproject = read_project(folder, told["build"], told["code"], command)
        plan = make_plan(project, pyproject, options.replace)
        if not plan.files and not plan.gone:
            print(f"Nothing to do: {folder} has everything.")
            return
        if git(folder, "status", "--porcelain", "--", "."):
            raise AdoptError(
                f"{folder} has changes that are not committed, so git could not undo only this: "
                "commit or stash them."
            )
        write(plan, folder)
        print(report(plan, project))
    except (AdoptError, InitError) as error:
        sys.exit(f"ERROR: {error}")
    except OSError as error:
        sys.exit(
            f"ERROR: a file could not be read or written ({error}), so nothing was changed: "
            "correct that, then run this again."
        )
