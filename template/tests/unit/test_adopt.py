"""What `./crate adopt` finds in a project, writes into it and refuses."""

import ast
import re
import subprocess
import sys
import tomllib

import pytest
import tomlkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement

from template.commands import COMMANDS
from template.init import ABOUT_TEMPLATE
from template.tests import existing, projects
from template.tests.common import TOP
from template.tests.unit.test_workflows import own_rules, zizmor
from torchcrate import cli
from torchcrate.stages.locks import split_locks

pytestmark = pytest.mark.template

GPU = re.search(r"^ARG TORCH_BUILD=(.+)", (TOP / "Dockerfile").read_text(), re.MULTILINE).group(1)
TEMPLATE = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["name"]
# The command needs Poetry's library. `./crate` sets up no environment if it runs in this one.
PYTHON = TOP / ".tools/poetry/bin/python"
WORKFLOWS = (".github/workflows/image.yml", ".github/workflows/image-tests.yml")


def crate(top, *arguments):
    """Run a command of ./crate of a project, or of the template, and return how it ended."""
    return subprocess.run(
        [PYTHON, top / "crate", *arguments],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )


def adopt(folder, *options, build=GPU):
    """Adopt a folder and return how it ended."""
    options = [*options, *([f"--build={build}"] if build else [])]
    return crate(TOP, "adopt", "--into", folder, *options)


def contents(folder):
    """Return {path: bytes} of all files in a folder except .git."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    paths = [path.relative_to(folder) for path in files]
    return {str(p): (folder / p).read_bytes() for p in paths if p.parts[0] != ".git"}


def adopted(folder, *options, build=GPU):
    """Adopt a folder and return what was printed."""
    done = adopt(folder, *options, build=build)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


def refused(folder, *options, build=GPU):
    """Return the one-sentence error for a project, and check that nothing was written."""
    before = contents(folder) if folder.is_dir() else {}
    done = adopt(folder, *options, build=build)
    assert (done.returncode, done.stdout) == (1, ""), done.stdout
    assert done.stderr.startswith("ERROR: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert (contents(folder) if folder.is_dir() else {}) == before
    return done.stderr.strip()


@pytest.fixture
def project(tmp_path):
    """Return a function that makes a project of a layout; `files` replaces or removes some."""

    def make(layout, **edits):
        files = existing.LAYOUTS[layout] | edits.pop("files", {})
        files = {name: text for name, text in files.items() if text is not None}
        return existing.write(tmp_path / layout, files)

    return make


def lines(folder, name, pattern):
    return re.findall(pattern, (folder / name).read_text(), re.MULTILINE)


def test_write_error(project):
    """A broken link fails the command when half of the files are written: all are undone."""
    folder = project("flat")
    (folder / "Dockerfile.cpu").symlink_to("nowhere/at/all")
    existing.commit(folder)
    said = refused(folder)
    assert "so nothing was changed: correct that, then run this again." in said
    assert not (folder / "torchcrate").exists()
    assert (folder / "Dockerfile.cpu").is_symlink()


CODE_LINES = {
    "flat": ["wordcount /layers/1/app/src/wordcount"],
    "src": ["src /layers/1/app/src", "train.py /layers/1/app/src/train.py"],
    "scripts": [f"{x} /layers/1/app/src/{x}" for x in ("models", "evaluate.py", "train.py")],
}
DEV_LINES = {
    "flat": ["README.md", "wordcount", "tests"],
    "src": ["src", "train.py"],
    "scripts": ["models", "evaluate.py", "train.py"],
}
STARTS = {
    "flat": '["python", "-m", "wordcount"]',
    "src": '["waves"]',
    "scripts": '["python", "-m", "train"]',
}
NAMES = {"flat": "word-count", "src": "ocean", "scripts": "scripts"}


@pytest.mark.parametrize("layout", existing.LAYOUTS)
def test_project_in_images(project, layout):
    folder = project(layout)
    adopted(folder)
    for dockerfile in ("Dockerfile", "Dockerfile.cpu"):
        copied = lines(folder, dockerfile, r"^COPY (.+ /layers/1/app/src.*)$")
        assert copied == CODE_LINES[layout]
        assert lines(folder, dockerfile, r"^CMD (.+)")[-1] == STARTS[layout]
        dev = lines(folder, dockerfile, r"^COPY (\S+) \1$")
        assert dev == DEV_LINES[layout]
        groups = ["dev"] if layout == "flat" else [""]  # docs is optional
        assert lines(folder, dockerfile, r"^ARG DEV_GROUPS=(.*)") == groups
    ignore = "Dockerfile.dockerignore" if layout == "flat" else ".dockerignore"
    let_in = {"apt", "locks", "packages", "pyproject.toml", "poetry.lock", *DEV_LINES[layout]}
    let_in |= {"torchcrate/doctor.py", "torchcrate/stages"}
    assert set(lines(folder, ignore, r"^!(.+)")) == let_in
    # Where Python looks in the mounted project.
    assert lines(folder, "Dockerfile", r"/hold-torch\.sh /mnt/torch\.txt (\S+)$") == [
        "src" if layout == "src" else "."
    ]
    assert f'"IMAGE" {{ default = "{NAMES[layout]}" }}' in (folder / "docker-bake.hcl").read_text()


@pytest.mark.parametrize("layout", existing.LAYOUTS)
def test_changed_files_reported(project, layout):
    folder = project(layout)
    before = contents(folder)
    said = adopted(folder)
    after = contents(folder)
    changed = {name for name in before if after.get(name) != before[name]}
    assert changed == set(re.findall(r"^Changed: (\S+):", said, re.MULTILINE))
    assert changed <= {".gitignore", "pyproject.toml"}
    for name in changed:  # no line of theirs is lost
        kept = after[name].decode().splitlines()
        assert [line for line in before[name].decode().splitlines() if line not in kept] == []


def test_files_left_alone(project):
    said = adopted(project("flat"))
    assert "Left alone: .dockerignore: " in said
    assert re.search(
        r"Left alone: .pre-commit-config.yaml: .+\n  - repo: local\n    hooks:\n", said
    )
    assert f"  ./crate lock --build {GPU}\n" in said


def test_nothing_of_template(project):
    folder = project("scripts")
    adopted(folder)
    texts = {name: data.decode().lower() for name, data in contents(folder).items()}
    names = "|".join({TEMPLATE, *(path.name for path in TOP.glob("src/*"))}).lower()
    named = re.compile(rf'(default = "|\s-m |"-m", ")({names})\b')
    assert [name for name, text in texts.items() if named.search(text)] == []
    mine = re.compile(r"<!-- /?template|^\s*(from|import) template\b", re.MULTILINE)
    assert [name for name, text in texts.items() if mine.search(text)] == []
    assert [name for name in texts if re.search(r"sample|adopt|^template|^\.ci", name)] == []


def test_same_machinery(project):
    """torchcrate/ is copied byte for byte, with file modes."""
    folder = project("scripts")
    adopted(folder)
    listed = ["ls-files", "--cached", "--others", "--exclude-standard", "--", "torchcrate"]
    here = {name for name in projects.git(TOP, *listed).splitlines() if (TOP / name).is_file()}
    assert {name for name in contents(folder) if name.startswith("torchcrate/")} == here
    for name in here:
        assert (folder / name).read_bytes() == (TOP / name).read_bytes(), name
        assert (folder / name).stat().st_mode == (TOP / name).stat().st_mode, name
    assert (folder / "crate").read_text() == ABOUT_TEMPLATE.sub("", (TOP / "crate").read_text())
    assert (folder / "crate").stat().st_mode & 0o111


def imported(text):
    """Yield what a Python file imports: modules, and names as MODULE.NAME."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)


def is_there(folder, dotted):
    """Return whether a folder has a module, or the module or package that defines a name."""
    path = folder / dotted.replace(".", "/")
    package = path.parent / "__init__.py"
    return (
        path.with_suffix(".py").is_file()
        or (path / "__init__.py").is_file()
        or path.parent.with_suffix(".py").is_file()
        or (package.is_file() and path.name in package.read_text())
    )


@pytest.mark.parametrize("layout", existing.LAYOUTS)
def test_few_other_files(project, layout):
    folder = project(layout)
    before = contents(folder)
    adopted(folder)
    new = {name: data for name, data in contents(folder).items() if name not in before}
    new = {n: data for n, data in new.items() if not n.startswith(("torchcrate/", "locks/"))}
    assert len(new) <= 33
    assert sum(len(data.splitlines()) for data in new.values()) <= 2400


@pytest.mark.parametrize("layout", existing.LAYOUTS)
def test_no_missing_file(project, layout):
    """Everything that a copied file imports, mounts or runs is copied too."""
    folder = project(layout)
    adopted(folder)
    found = {command.function.partition(":")[0]: "a command" for command in cli.COMMANDS.values()}
    for name in contents(folder):
        if name == "crate" or re.match(r"(torchcrate|tests/image)/.+\.py$", name):
            found |= dict.fromkeys(imported((folder / name).read_text()), name)
    found = {module: name for module, name in found.items() if module.startswith("torchcrate")}
    assert "torchcrate.testing.images.Image" in found
    assert {module: name for module, name in found.items() if not is_there(folder, module)} == {}
    (makes,) = lines(folder, "Dockerfile", r"^ARG TORCH_BUILD=(.+)")
    of_lock = {"poetry.lock", f"locks/torch.{makes}.txt"}  # `./crate lock` makes it
    for source in lines(folder, "Dockerfile", r"\btype=bind,source=([^,\s]+)"):
        path = source.replace("${TORCH_BUILD}", makes)
        assert path in of_lock or (folder / path).exists(), f"Dockerfile mounts {path}"
    for name in WORKFLOWS:
        for path in lines(folder, name, r"\./([\w/.-]+)"):
            assert (folder / path).is_file(), f"{name} names {path}"


@pytest.mark.parametrize("layout", ["flat", "src"])
def test_workflow(project, layout):
    folder = project(layout)
    adopted(folder)
    caller, called = ((folder / name).read_text() for name in WORKFLOWS)
    images = re.findall(r"^  (\w.*):\n    if: .*\n    uses: \./(\S+)", caller, re.MULTILINE)
    assert images == [("images-of-pull-request", WORKFLOWS[1]), ("images", WORKFLOWS[1])]
    # The project's own hooks do not run.
    lint = [] if layout == "flat" else ["./crate lint"]
    run = [*lint, "./crate test"]
    assert re.findall(r"^      - run: (.+)", called, re.MULTILINE) == run
    for text in (caller, called):
        assert "\n\n\n" not in text
        assert re.findall("^#.*", text, re.MULTILINE) == [text.splitlines()[0]]
    assert own_rules(folder) == []
    assert zizmor(folder) == ""
    sets = re.findall(r"^      (\w+): ", called.partition("    steps:\n")[0], re.MULTILINE)
    bake = (folder / "docker-bake.hcl").read_text()
    assert sets and all(f'variable "{name}" ' in bake for name in sets)


def test_hooks(project):
    folder = project("src")
    adopted(folder)
    text = (folder / ".pre-commit-config.yaml").read_text()
    hooks = re.findall(r"^      - id: (.+)", text, re.MULTILINE)
    assert {"hadolint", "shellcheck", "check"} <= set(hooks)
    assert not [hook for hook in hooks if hook.startswith("ruff")]
    assert text.splitlines()[1] == "repos:"
    # Of all their files, only those that locks or images are made from.
    files = re.findall(r"^        files: (.+)", text, re.MULTILINE)
    assert len(files) == len(hooks)
    theirs = (
        "src/a.py",
        "run.sh",
        "docker/Dockerfile",
        "Dockerfile.old",
        ".github/workflows/ci.yml",
    )
    *limited, check = files
    assert [name for name in theirs if any(re.search(pattern, name) for pattern in limited)] == []
    ours = ("Dockerfile", "Dockerfile.cpu", *WORKFLOWS, "torchcrate/a/b.sh")
    assert all(any(re.search(pattern, name) for pattern in limited) for name in ours)
    assert re.search(check, "pyproject.toml")


def commands(folder):
    """Return the names of the commands that ./crate of a project lists."""
    return set(re.findall(r"^    (\w\S*)", crate(folder, "--help").stdout, re.MULTILINE))


def test_crate_works(project):
    folder = project("src")
    adopted(folder)
    projects.share_tools(folder)
    assert {"run", "test", "shell", "lock", "check", "contract", "lint"} <= commands(folder)
    assert commands(folder) & COMMANDS.keys() == {"test"}  # no other command of the template
    for build in (GPU, "cpu"):  # as `./crate lock` leaves them
        (folder / f"locks/torch.{build}.txt").write_text("torch==1\n")
    made = (folder / "Dockerfile.cpu").read_text()
    (folder / "Dockerfile.cpu").write_text("# edited\n")
    existing.commit(folder)
    done = crate(folder, "check", "--write")
    assert done.stdout == "Dockerfile.cpu written\n"
    assert done.stderr == "ERROR: poetry.lock is not there: run `./crate lock`.\n"
    assert (folder / "Dockerfile.cpu").read_text() == made
    # Python's bytecode is ignored.
    assert projects.git(folder, "status", "--porcelain", "--untracked-files") == "M Dockerfile.cpu"


def test_commands_in_messages(project):
    folder = project("flat")
    adopted(folder)
    files = contents(folder)  # before there is bytecode
    there = {*commands(folder), "init", "adopt", "update"}  # the template's
    for name, data in files.items():
        if name in existing.FLAT or name.startswith("locks/"):
            continue
        assert not re.search(r"[`']make\b", data.decode()), name
        named = set(re.findall(r"[`']\./crate ([a-z]\S*?)[\s`']", data.decode()))
        assert named <= there, name


def test_contract_collected(project):
    """The project's own conftest.py files do not matter."""
    theirs = {
        "tests/conftest.py": "import what_only_the_image_has\n",
        "conftest.py": "import gone\n",
    }
    folder = project("flat", files=theirs)
    adopted(folder)
    command = [sys.executable, "-m", "pytest", "-c", "torchcrate/testing/pytest.ini", "--rootdir=."]
    command += ["--collect-only", "-q", "--image=runtime=one", "--image=dev=another", "--build=cpu"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(
        r"^tests/image/\S+?\[.*(cpu-runtime|cpu-dev)\b.*\]$", done.stdout, re.MULTILINE
    )
    assert len(found) == done.stdout.count("::") > 50
    assert set(found) == {"cpu-runtime", "cpu-dev"}


def test_tools_locked(project):
    folder = project("src")
    adopted(folder)
    wanted = lines(folder, "locks/tests.in", r"^([^#\n].*)")
    locked = lines(folder, "locks/tests.txt", r"^([\w.-]+==[\w.]+)(?= )")
    locked = {Requirement(pin).name: Requirement(pin).specifier for pin in locked}
    assert {"docker", "pytest", "pytest-testinfra"} <= {Requirement(need).name for need in wanted}
    for need in map(Requirement, wanted):
        (pin,) = locked[need.name]
        assert pin.version in need.specifier
    text = (folder / "locks/tests.txt").read_text()
    assert text.count("\n    --hash=sha256:") >= len(locked)


@pytest.mark.parametrize("layout", existing.LAYOUTS)
def test_second_run(project, layout):
    folder = project(layout)
    adopted(folder)
    # As `./crate lock` leaves them.
    (folder / "locks/tests.txt").write_text("a==1\n")
    (folder / f"locks/torch.{GPU}.txt").write_text("torch==1\n")
    for commit in (False, True):
        if commit:
            existing.commit(folder)
        before = contents(folder)
        assert adopted(folder) == f"Nothing to do: {folder} has everything.\n"
        assert contents(folder) == before


@pytest.mark.parametrize("name", ["Dockerfile", "crate", "docker-bake.hcl", "torchcrate/build.py"])
def test_existing_file(project, name):
    folder = project("src", files={name: "theirs\n"})
    said = refused(folder)
    assert f" has {name} already" in said
    assert "--replace" in said
    assert f"Changed: {name}: replaced" in adopted(folder, "--replace")
    assert (folder / name).read_text() != "theirs\n"


def test_old_module_deleted(project):
    folder = project("src", files={"torchcrate/old.py": "theirs\n", "torchcrate/.gitignore": "x\n"})
    assert " has torchcrate/.gitignore, torchcrate/old.py already" in refused(folder)
    assert "Changed: torchcrate/old.py: deleted" in adopted(folder, "--replace")
    assert not (folder / "torchcrate/old.py").exists()
    assert (folder / "torchcrate/build.py").exists()


@pytest.mark.parametrize(
    "name", ["torchcrate", "tests/image", "Dockerfile/x", "locks/uv.txt/x", "crate/src/lib.rs"]
)
def test_file_and_folder_clash(project, name):
    folder = project("src", files={name: "theirs\n"})
    said = refused(folder, "--replace")
    path = re.sub(r"/(x|src/.+)$", "", name)
    assert f" has {path} where a {'folder' if path == name else 'file'} of that name" in said


def test_bytes_and_line_ends_kept(project):
    folder = project("flat")
    for name in (".gitignore", "pyproject.toml"):
        (folder / name).write_bytes((folder / name).read_bytes().replace(b"\n", b"\r\n"))
    with (folder / ".gitignore").open("ab") as file:
        file.write(b"\xff\r\n")
    existing.commit(folder)
    before = contents(folder)
    adopted(folder)
    for name in (".gitignore", "pyproject.toml"):
        assert (folder / name).read_bytes().startswith(before[name].rstrip())
    assert adopted(folder).startswith("Nothing to do")


PYTEST = {
    "none": ("", "", 'addopts = "--ignore=tests/image"'),
    "a line": ('addopts = "-q"', "", 'addopts = "-q --ignore=tests/image"'),
    "a list": ('addopts = ["-q"]', "", 'addopts = ["-q", "--ignore=tests/image"]'),
    "no addopts": ('testpaths = ["tests"]', "", 'addopts = "--ignore=tests/image"'),
    "done": ('addopts = "--ignore=tests/image"', "", 'addopts = "--ignore=tests/image"'),
    "pytest.ini": ("", "[pytest]\n", ""),
    # pytest 9's own table: pytest refuses a project that has both.
    "own table": ('[tool.pytest]\ntestpaths = ["tests"]', "", 'addopts = ["--ignore=tests/image"]'),
    "own list": ('[tool.pytest]\naddopts = ["-q"]', "", 'addopts = ["-q", "--ignore=tests/image"]'),
}


@pytest.mark.parametrize("has", PYTEST)
def test_plain_pytest(project, has):
    table, ini, expected = PYTEST[has]
    text = existing.FLAT["pyproject.toml"]
    head = "" if table.startswith("[") else "[tool.pytest.ini_options]\n"
    text += f"\n{head}{table}\n" if table else ""
    folder = project("flat", files={"pyproject.toml": text, "pytest.ini": ini or None})
    said = adopted(folder)
    after = (folder / "pyproject.toml").read_text()
    assert [line for line in after.splitlines() if "addopts" in line.partition("#")[0]] == (
        [line for line in [expected] if line]
        if has != "none"
        else [f"{expected} # those run on the host"]
    )
    if ini:
        assert "Left alone: pytest.ini: add --ignore=tests/image to its addopts" in said
        return
    (folder / "tests/test_words.py").write_text("def test_it():\n    pass\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "test_words.py" in done.stdout and "tests/image" not in done.stdout


def test_pyproject_layout_kept(project):
    text = existing.SRC["pyproject.toml"]
    folder = project("src", files={"tests/test_it.py": "", "pyproject.toml": text})
    adopted(folder)
    after = (folder / "pyproject.toml").read_text()
    assert after.replace('    "--ignore=tests/image",\n', "") == text
    assert tomlkit.parse(after)["tool"]["pytest"]["ini_options"]["addopts"] == [
        "-ra",
        "--ignore=tests/image",
    ]


def edited(layout, old, new):
    """Return a pyproject.toml of a layout with some text replaced."""
    text = existing.LAYOUTS[layout]["pyproject.toml"]
    assert old in text
    return {"pyproject.toml": text.replace(old, new)}


TORCH = f'torch = "{existing.TORCH}"'
GROUP = "[tool.poetry.group.gpu.dependencies]"
HATCH = '[project]\nname = "x"\n[build-system]\nbuild-backend = "hatchling"\n'
SOURCE = """torch = { version = "2.13.0", source = "p" }
[[tool.poetry.source]]
name = "p"
url = "https://x"
priority = "explicit"
"""
ADDRESS = f'{TORCH}\ntorchvision = {{ url = "https://x/torchvision-1-py3-none-any.whl" }}'
NO_CODE = {name: None for name in existing.SCRIPTS if name.endswith(".py")}
REFUSALS = {
    "no pyproject.toml": ({"pyproject.toml": None}, "has no pyproject.toml: run `poetry init`"),
    "no TOML": ({"pyproject.toml": "[x"}, "pyproject.toml cannot be read"),
    "not Poetry's": ({"pyproject.toml": HATCH}, "is not Poetry's"),
    "refused by Poetry": (edited("scripts", TORCH, 'torch = ">="'), "Poetry refuses"),
    "refused by Poetry's schema": (
        edited("scripts", TORCH, SOURCE.replace('priority = "explicit"', "secondary = true")),
        "must not contain {'secondary'} properties",
    ),
    "another Python": (edited("scripts", "~3.11", "~3.10"), "wants Python >=3.10,<3.11"),
    "another Python in the standard's table": (
        edited("src", ">=3.11,<3.13", ">=3.12"),
        "let it in too where the file has requires-python",
    ),
    "no torch": (edited("scripts", TORCH, ""), "does not name torch: run `poetry add torch=="),
    "torch in a group": (
        edited("scripts", TORCH, f"{GROUP}\n{TORCH}"),
        "names torch only in the group gpu",
    ),
    "torch of one build": (
        edited("scripts", TORCH, 'torch = "2.13.0+cu126"'),
        """takes torch of one build, but locks/torch.<build>.txt chooses the build: name only the \
public version, such as torch = "2.0.1", then""",
    ),
    "torch of one build in the standard's table": (
        edited("src", "torch (>=2.9,<2.10)", "torch (==2.9.1+cu126)"),
        'such as "torch (==2.0.1)", then',
    ),
    "torch from a source": (edited("scripts", TORCH, SOURCE), "takes torch from p, but"),
    "torchvision from an address": (
        edited("scripts", TORCH, ADDRESS),
        "takes torchvision from https://x/torchvision",
    ),
    "no code": (NO_CODE | {"notes.txt": ""}, "name it with --code"),
}


@pytest.mark.parametrize("why", REFUSALS)
def test_refusals(project, why):
    files, says = REFUSALS[why]
    assert says in refused(project("scripts", files=files))


def test_no_folder(tmp_path):
    assert "is not a folder: name the project's folder with --into" in refused(tmp_path / "none")


def test_template_itself():
    done = adopt(TOP)
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == "ERROR: --into names this repository itself: name another project's folder.\n"
    )


def test_no_git(tmp_path):
    for name, text in existing.SCRIPTS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert "is not in git" in refused(tmp_path)


@pytest.mark.parametrize("name", ["train.py", "new.txt"])
def test_uncommitted_changes(project, name):
    folder = project("scripts")
    (folder / name).write_text("# not committed\n")
    assert "has changes that are not committed" in refused(folder)


@pytest.mark.parametrize(
    "package, build",
    [
        ('name = "nvidia-cuda-runtime"\nversion = "13.0.96"', "cu130"),
        ('name = "nvidia-cuda-runtime-cu11"\nversion = "11.7.99"', "cu117"),
    ],
)
def test_build_from_lock(project, package, build):
    text = f'[[package]]\n{package}\ngroups = ["main"]\n'
    folder = project("scripts", files={"poetry.lock": text + fresh(existing.SCRIPTS)})
    adopted(folder, build=None)
    assert lines(folder, "Dockerfile", r"^ARG TORCH_BUILD=(.+)") == [build]
    assert lines(folder, "Dockerfile.cpu", r"^ARG TORCH_BUILD=(.+)") == ["cpu"]
    assert f'"TORCH_BUILD" {{ default = "{build}" }}' in (folder / "docker-bake.hcl").read_text()


def fresh(files):
    """Return the metadata of a poetry.lock that fits a project's pyproject.toml."""
    pyproject = tomllib.loads(files["pyproject.toml"])
    (hash_, *_) = split_locks.content_hashes(pyproject)
    return f'\n[metadata]\ncontent-hash = "{hash_}"\n'


@pytest.mark.parametrize("text", ["[x", "package = 1", "[[package]]", "package = ['torch']", "\n"])
@pytest.mark.parametrize("build", [None, GPU])
def test_invalid_lock(project, text, build):
    """The last one is of another pyproject.toml."""
    folder = project("scripts", files={"poetry.lock": text})
    assert "poetry.lock cannot be taken as it is: run `poetry lock`" in refused(folder, build=build)


def test_all_refusals_at_once(project):
    files = edited("scripts", TORCH, 'torch = "2.13.0+cu126"\nmine = { path = "../.." }')
    files["pyproject.toml"] = files["pyproject.toml"].replace("~3.11", "~3.10")
    folder = project("scripts", files=files | {"poetry.lock": "package = []\n"})
    done = adopt(folder)
    says = ("wants Python", "takes torch of one build", "is a path dependency at ../..", "run `")
    assert done.returncode == 1
    said = re.findall("^ERROR: (.+)", done.stderr, re.MULTILINE)  # Poetry logs a line of its own
    for line, expected in zip(said, says, strict=True):
        assert expected in line
    assert "`poetry add ./packages/mine`" in done.stderr


@pytest.mark.parametrize("option", ["--code=it's", "--command=it's"])
def test_open_quote(project, option):
    assert "it's has a quote that is not closed" in refused(project("scripts"), option)


def test_empty_values(project):
    assert "--command is empty: say what" in refused(project("scripts"), "--command= ")
    poetry = existing.SCRIPTS["pyproject.toml"] + '\n[[tool.poetry.packages]]\ninclude = ""\n'
    said = adopted(project("scripts", files={"pyproject.toml": poetry}))
    assert "Your code: models, evaluate.py, train.py (" in said


@pytest.mark.parametrize("record", ["mine = 1", "<<<<<<<", "files = 3", 'tree = "a"'])
def test_another_record(project, record):
    folder = project("scripts", files={".template.toml": f"{record}\n"})
    assert ".template.toml is not as adopt writes it: bring" in refused(folder, "--replace")


def test_readme_outside(project):
    files = edited(
        "scripts", "package-mode = false", 'package-mode = false\nreadme = "../README.md"'
    )
    folder = project("scripts", files=files)
    adopted(folder)
    assert lines(folder, "Dockerfile", r"^COPY (\S+) \1$") == DEV_LINES["scripts"]


@pytest.mark.parametrize("lock", [None, "package = []\n" + fresh(existing.SCRIPTS)])
def test_unknown_build(project, lock):
    folder = project("scripts", files={"poetry.lock": lock})
    assert "does not say which GPU build of torch" in refused(folder, build=None)


@pytest.mark.parametrize("build", ["cpu", "CU 126", "../x", "cu_126"])
def test_invalid_build(project, build):
    assert f"--build {build} is not a GPU build" in refused(project("scripts"), build=build)


def test_code_and_command_options(project):
    folder = project("scripts", files={"ml/deep/a.py": "", "ml/b.yaml": ""})
    adopted(folder, "--code=ml/deep train.py ml/b.yaml", "--command=python -m deep.a 'x y'")
    copied = lines(folder, "Dockerfile", r"^COPY (.+ /layers/1/app/src.*)$")
    assert copied == [f"{x} /layers/1/app/src/{y}" for x, y in
        [("ml/deep", "deep"), ("train.py", "train.py"), ("ml/b.yaml", "b.yaml")]]  # fmt: skip
    assert lines(folder, "Dockerfile", r"^CMD (.+)")[-1] == '["python", "-m", "deep.a", "x y"]'


@pytest.mark.parametrize("code", ["none", "../scripts", ".", "models models/../train.py", "/etc"])
def test_missing_code(project, code):
    assert "--code names " in refused(project("scripts"), f"--code={code}")


def test_poetry_script(project):
    files = edited(
        "src", "[tool.poetry]\n", '[tool.poetry]\nscripts = { go = "ocean.waves:main" }\n'
    )
    files |= {"src/ocean/__main__.py": None, "train.py": None}
    folder = project("src", files=files)
    adopted(folder)
    assert lines(folder, "Dockerfile", r"^CMD (.+)")[-1] == '["go"]'


@pytest.mark.parametrize(("names", "starts"), [(("a", "ocean"), "ocean"), (("b", "a"), "b")])
def test_several_scripts(project, names, starts):
    """The one with the project's name, or else the first."""
    scripts = "".join(f'{name} = "ocean.waves:main"\n' for name in names)
    folder = project("src", files=edited("src", 'waves = "ocean.waves:main"\n', scripts))
    adopted(folder)
    assert lines(folder, "Dockerfile", r"^CMD (.+)")[-1] == f'["{starts}"]'


def test_torch_from_the_default_index(project):
    """Poetry has a name for it."""
    source = f'torch = {{ version = "{existing.TORCH}", source = "pypi" }}'
    adopted(project("scripts", files=edited("scripts", TORCH, source)))


def test_optional_torch(project):
    """The images get the extra that has torch."""
    folder = project("scripts", files=existing.OPTIONAL)
    assert "Extra in the images: ml, which has torch" in adopted(folder)
    for dockerfile in ("Dockerfile", "Dockerfile.cpu"):
        assert lines(folder, dockerfile, r"^ARG EXTRAS=(.*)") == ["ml"]


def test_part_of_a_repository(tmp_path):
    """What GitHub and pre-commit read only at the top of a repository is left out."""
    existing.write(tmp_path, {"README.md": ""} | {f"ml/{n}": t for n, t in existing.SRC.items()})
    said = adopted(tmp_path / "ml")
    for name, who in (*((n, "GitHub") for n in WORKFLOWS), (".pre-commit-config.yaml", "pre-")):
        assert not (tmp_path / "ml" / name).exists()
        assert f"Left alone: {name}: left out, since {who}" in said
    assert (tmp_path / "ml/Dockerfile").is_file()


def test_no_program(project):
    """A package at the top is none."""
    gone = dict.fromkeys(("train.py", "evaluate.py", "models/net.py"))
    said = adopted(folder := project("scripts", files={**gone, "__init__.py": ""}))
    assert lines(folder, "Dockerfile", r"^CMD (.+)")[-1] == '["python"]'
    assert "The container starts: python (if not, say --command 'COMMAND')" in said


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(["tool", "project", "build-system", "tool.poetry", "tool.pytest"]).map(
        "{} = 1\n".format
    )
    | st.text(st.sampled_from('[]="\n .torch=+toolpoetry'), max_size=60)
    | st.text(max_size=40).map('[tool.poetry.dependencies]\npython = "^3.11"\ntorch = "{}"'.format)
    | st.text(max_size=40).map('[project]\nname = "{}"\nversion = "1"\n[tool.poetry]\n'.format)
    | st.text(max_size=40).map('[tool.poetry.dependencies]\ntorch = "*"\npython = "{}"'.format)
)
def test_any_pyproject(tmp_path_factory, text):
    """The result is a one-sentence error or a whole project."""
    folder = existing.write(tmp_path_factory.mktemp("any"), {"train.py": ""})
    (folder / "pyproject.toml").write_bytes(text.encode(errors="replace"))
    existing.commit(folder)
    if adopt(folder).returncode:
        refused(folder)
    else:
        assert (folder / "Dockerfile.cpu").exists()
