"""`make adopt` finds what a project is made of, and stops before it writes what it must not."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import tomlkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import existing
from images import TOP

pytestmark = pytest.mark.template

GPU = re.search(r"^ARG TORCH_BUILD=(.+)", (TOP / "Dockerfile").read_text(), re.MULTILINE).group(1)
TEMPLATE = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["name"]
# It needs Poetry's library, so it runs in Poetry's environment, as behind `make`.
PYTHON = TOP / ".tools/poetry/bin/python"


def adopt(folder, *options, build=GPU):
    """Run the command on a folder and return how it ended."""
    options = [*options, *([f"--build={build}"] if build else [])]
    return subprocess.run(
        [PYTHON, TOP / "scripts/adopt.py", folder, *options],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(TOP / "docker/locks")},
        capture_output=True,
        text=True,
    )


def contents(folder):
    """Return {path: bytes} of all files in a folder but git's own."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    paths = [path.relative_to(folder) for path in files]
    return {str(p): (folder / p).read_bytes() for p in paths if p.parts[0] != ".git"}


def adopted(folder, *options, build=GPU):
    """Adopt a folder and return what was printed."""
    done = adopt(folder, *options, build=build)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


def refused(folder, *options, build=GPU):
    """Return the one sentence that a project is refused with; nothing was written."""
    before = contents(folder) if folder.is_dir() else {}
    done = adopt(folder, *options, build=build)
    assert (done.returncode, done.stdout) == (1, ""), done.stdout
    assert done.stderr.startswith("ERROR: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert (contents(folder) if folder.is_dir() else {}) == before
    return done.stderr.strip()


@pytest.fixture
def project(tmp_path):
    """Return a function that makes a project of a layout, with some files other or left out."""

    def make(layout, **edits):
        files = existing.LAYOUTS[layout] | edits.pop("files", {})
        files = {name: text for name, text in files.items() if text is not None}
        return existing.write(tmp_path / layout, files)

    return make


def lines(folder, name, pattern):
    return re.findall(pattern, (folder / name).read_text(), re.MULTILINE)


def test_what_cannot_be_written_leaves_the_project_as_it_was(project):
    """A link to nowhere is in the way, which shows when half of the files are written."""
    folder = project("flat")
    (folder / "Dockerfile.cpu").symlink_to("nowhere/at/all")
    existing.commit(folder)
    said = refused(folder)
    assert "so nothing was changed: mend that, then run this again." in said
    assert not (folder / "docker").exists()
    assert (folder / "Dockerfile.cpu").is_symlink()


CODE_LINES = {
    "flat": ["wordcount /app/src/wordcount"],
    "src": ["src /app/src", "train.py /app/src/train.py"],
    "scripts": [f"{x} /app/src/{x}" for x in ("models", "evaluate.py", "train.py")],
}
DEV_LINES = {
    "flat": ["README.md", "wordcount", "tests"],
    "src": ["src", "train.py"],
    "scripts": ["models", "evaluate.py", "train.py"],
}
COMMANDS = {"flat": '"-m", "wordcount"', "src": '"-m", "ocean"', "scripts": '"-m", "train"'}
NAMES = {"flat": "word-count", "src": "ocean", "scripts": "scripts"}


@pytest.mark.parametrize("layout", existing.LAYOUTS)
def test_the_images_are_of_the_project(project, layout):
    folder = project(layout)
    adopted(folder)
    for dockerfile in ("Dockerfile", "Dockerfile.cpu"):
        copied = lines(folder, dockerfile, r"^COPY --link ([^-].+ /app/src.*)$")
        assert copied == CODE_LINES[layout]
        assert lines(folder, dockerfile, r"^CMD (.+)")[-1] == f'["python", {COMMANDS[layout]}]'
        dev = lines(folder, dockerfile, r"^COPY (\S+) \1$")
        assert dev == DEV_LINES[layout]
        groups = ["dev"] if layout == "flat" else [""]  # docs is optional
        assert lines(folder, dockerfile, r"^ARG DEV_GROUPS=(.*)") == groups
    ignore = "Dockerfile.dockerignore" if layout == "flat" else ".dockerignore"
    let_in = {"docker", "locks", "packages", "pyproject.toml", "poetry.lock", *DEV_LINES[layout]}
    assert set(lines(folder, ignore, r"^!(.+)")) == let_in
    assert f'"IMAGE" {{ default = "{NAMES[layout]}" }}' in (folder / "docker-bake.hcl").read_text()


@pytest.mark.parametrize("layout", existing.LAYOUTS)
def test_no_file_of_theirs_changes_unsaid(project, layout):
    folder = project(layout)
    before = contents(folder)
    said = adopted(folder)
    after = contents(folder)
    changed = {name for name in before if after.get(name) != before[name]}
    assert changed == set(re.findall(r"^Changed: (\S+):", said, re.MULTILINE))
    assert changed <= {".gitignore", "pyproject.toml"}
    for name in changed:  # what they had is all there
        kept = after[name].decode().splitlines()
        assert [line for line in before[name].decode().splitlines() if line not in kept] == []


def test_what_is_left_alone_is_said_with_what_that_means(project):
    said = adopted(project("flat"))
    assert "Left alone: Makefile: ours is image.mk, as in `make -f image.mk run`" in said
    assert "Left alone: .dockerignore: " in said
    assert re.search(
        r"Left alone: .pre-commit-config.yaml: .+\n  - repo: local\n    hooks:\n", said
    )
    assert f"  make -f image.mk lock BUILD={GPU}\n" in said


def test_nothing_of_the_template_comes_along(project):
    folder = project("scripts")
    adopted(folder)
    texts = {name: data.decode().lower() for name, data in contents(folder).items()}
    names = "|".join({TEMPLATE, *(path.name for path in TOP.glob("src/*"))}).lower()
    named = re.compile(rf'(default = "|\s-m |"-m", ")({names})\b')
    assert [name for name, text in texts.items() if named.search(text)] == []
    assert not [name for name in texts if "sample" in name or "adopt" in name or "init.py" in name]
    assert "\nadopt:" not in texts["Makefile"]


@pytest.mark.parametrize("layout", existing.LAYOUTS)
def test_all_that_our_files_name_is_there(project, layout):
    """Scripts, tests and modules that a copied file runs or imports have come too."""
    folder = project(layout)
    adopted(folder)
    ours = [n for n in contents(folder) if re.match(r"(scripts|tests/images|docker)/.+\.py$", n)]
    modules = {Path(name).stem for name in ours}
    here = {path.stem for path in (TOP / "tests/images").glob("*.py")}
    here |= {path.stem for path in (TOP / "scripts").glob("*.py")}
    for name in ours:
        imported = set(lines(folder, name, r"^\s*(?:import|from) (\w+)"))
        assert imported & here <= modules, name
    for name in ("Makefile" if layout != "flat" else "image.mk", ".github/workflows/image.yml"):
        for path in lines(folder, name, r"(?:scripts|tests/images)/[\w./-]+\w"):
            assert (folder / path).exists(), f"{name} names {path}"


@pytest.mark.parametrize("layout", ["flat", "src"])
def test_the_workflow_runs_the_images_tests(project, layout):
    folder = project(layout)
    adopted(folder)
    text = (folder / ".github/workflows/image.yml").read_text()
    (jobs,) = re.findall(r"^jobs:\n(.+)", text, re.MULTILINE | re.DOTALL)
    assert re.findall(r"^  (\S.*)", jobs, re.MULTILINE) == ["test:"]
    make = "make -f image.mk" if layout == "flat" else "make"
    # Their own hooks are no business of ours.
    run = [f"{make} test"] if layout == "flat" else [f"{make} lint", f"{make} test"]
    run.insert(0, "python3 scripts/ci.py room")
    assert re.findall(r"^      - run: (.+)", jobs, re.MULTILINE) == run
    assert "\n\n\n" not in text and re.findall("^#.*", text, re.MULTILINE) == [text.splitlines()[0]]


def test_the_makefile_works_under_its_other_name(project):
    folder = project("flat")
    adopted(folder)
    run = ["make", "-f", "image.mk"]
    listed = subprocess.run(run, cwd=folder, capture_output=True, text=True, check=True).stdout
    assert "make -f image.mk lock " in listed
    assert f"cpu|{GPU}" in listed
    made = (folder / "Dockerfile.cpu").read_text()
    (folder / "Dockerfile.cpu").unlink()
    subprocess.run([*run, "Dockerfile.cpu"], cwd=folder, capture_output=True, check=True)
    assert (folder / "Dockerfile.cpu").read_text() == made
    # Wherever a message names a command of ours, it is one that works there.
    for name, data in contents(folder).items():
        if name in existing.FLAT or name.startswith("locks/"):
            continue
        assert not re.search(r"[`']make (?!-f image\.mk)[a-z]", data.decode()), name


@pytest.mark.parametrize("layout", existing.LAYOUTS)
def test_a_second_run_has_nothing_to_do(project, layout):
    folder = project(layout)
    adopted(folder)
    # As `make lock` leaves them.
    (folder / "locks/tests.txt").write_text("a==1\n")
    (folder / f"locks/torch.{GPU}.txt").write_text("torch==1\n")
    for commit in (False, True):
        if commit:
            existing.commit(folder)
        before = contents(folder)
        assert adopted(folder) == f"Nothing to do: {folder} has it all.\n"
        assert contents(folder) == before


@pytest.mark.parametrize("name", ["Dockerfile", "docker-bake.hcl", "scripts/build.py"])
def test_a_file_in_the_way(project, name):
    folder = project("src", files={name: "theirs\n"})
    said = refused(folder)
    assert f" has {name} already" in said
    assert "REPLACE=1" in said
    assert f"Changed: {name}: replaced" in adopted(folder, "--replace")
    assert (folder / name).read_text() != "theirs\n"


@pytest.mark.parametrize("name", ["docker", "tests/images", "Dockerfile/x", "locks/uv.txt/x"])
def test_a_file_where_a_folder_goes_and_a_folder_where_a_file_goes(project, name):
    folder = project("src", files={name: "theirs\n"})
    said = refused(folder, "--replace")
    assert f" has {name.removesuffix('/x')} where a " in said
    assert f"a {'file' if name.endswith('/x') else 'folder'} of that name" in said


def test_what_is_no_text_and_how_lines_end_is_kept(project):
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


@pytest.mark.parametrize("name", ["GNUmakefile", "makefile", "Makefile"])
def test_each_name_of_a_makefile_counts(project, name):
    folder = project("src", files={name: "all:\n"})
    adopted(folder)
    assert (folder / name).read_text() == "all:\n"
    assert (folder / "image.mk").exists()
    assert name == "Makefile" or not (folder / "Makefile").exists()


PYTEST = {
    "none": ("", "", 'addopts = "--ignore=tests/images"'),
    "a line": ('addopts = "-q"', "", 'addopts = "-q --ignore=tests/images"'),
    "a list": ('addopts = ["-q"]', "", 'addopts = ["-q", "--ignore=tests/images"]'),
    "no addopts": ('testpaths = ["tests"]', "", 'addopts = "--ignore=tests/images"'),
    "done": ('addopts = "--ignore=tests/images"', "", 'addopts = "--ignore=tests/images"'),
    "pytest.ini": ("", "[pytest]\n", ""),
}


@pytest.mark.parametrize("has", PYTEST)
def test_a_plain_pytest_passes_by(project, has):
    table, ini, expected = PYTEST[has]
    text = existing.FLAT["pyproject.toml"]
    text += f"\n[tool.pytest.ini_options]\n{table}\n" if table else ""
    folder = project("flat", files={"pyproject.toml": text, "pytest.ini": ini or None})
    said = adopted(folder)
    after = (folder / "pyproject.toml").read_text()
    assert [line for line in after.splitlines() if "addopts" in line.partition("#")[0]] == (
        [line for line in [expected] if line]
        if has != "none"
        else [f"{expected} # those run on the host"]
    )
    if ini:
        assert "Left alone: pytest.ini: add --ignore=tests/images to its addopts" in said
        return
    (folder / "tests/test_words.py").write_text("def test_it():\n    pass\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "test_words.py" in done.stdout and "images" not in done.stdout


def test_a_table_that_is_spread_out_keeps_its_order(project):
    text = existing.SRC["pyproject.toml"]
    folder = project("src", files={"tests/test_it.py": "", "pyproject.toml": text})
    adopted(folder)
    after = (folder / "pyproject.toml").read_text()
    assert after.replace('    "--ignore=tests/images",\n', "") == text
    assert tomlkit.parse(after)["tool"]["pytest"]["ini_options"]["addopts"] == [
        "-ra",
        "--ignore=tests/images",
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
    "another Python": (edited("scripts", "~3.11", "~3.10"), "wants Python >=3.10,<3.11"),
    "no torch": (edited("scripts", TORCH, ""), "does not name torch: run `poetry add torch=="),
    "torch in a group": (
        edited("scripts", TORCH, f"{GROUP}\n{TORCH}"),
        "names torch in the group gpu alone",
    ),
    "torch of one build": (
        edited("scripts", TORCH, 'torch = "2.13.0+cu126"'),
        "takes torch of one build",
    ),
    "torch from a source": (edited("scripts", TORCH, SOURCE), "takes torch from p, which"),
    "torchvision from an address": (
        edited("scripts", TORCH, ADDRESS),
        "takes torchvision from https://x/torchvision",
    ),
    "no code": (NO_CODE | {"notes.txt": ""}, "name it with CODE"),
}


@pytest.mark.parametrize("why", REFUSALS)
def test_what_cannot_be_adopted(project, why):
    files, says = REFUSALS[why]
    assert says in refused(project("scripts", files=files))


def test_no_folder(tmp_path):
    assert "is no folder: name the project's with INTO=FOLDER" in refused(tmp_path / "none")


def test_this_repository_itself():
    done = adopt(TOP)
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr == "ERROR: INTO names this repository itself: name another project's folder.\n"
    )


def test_a_project_that_is_not_in_git(tmp_path):
    for name, text in existing.SCRIPTS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert "is not in git" in refused(tmp_path)


@pytest.mark.parametrize("name", ["train.py", "new.txt"])
def test_changes_that_are_in_no_commit(project, name):
    folder = project("scripts")
    (folder / name).write_text("# not committed\n")
    assert "has changes that are in no commit" in refused(folder)


@pytest.mark.parametrize(
    "package, build",
    [
        ('name = "nvidia-cuda-runtime"\nversion = "13.0.96"', "cu130"),
        ('name = "nvidia-cuda-runtime-cu11"\nversion = "11.7.99"', "cu117"),
    ],
)
def test_poetry_lock_says_which_build_it_is(project, package, build):
    folder = project("scripts", files={"poetry.lock": f"[[package]]\n{package}\n"})
    adopted(folder, build=None)
    assert lines(folder, "Dockerfile", r"^ARG TORCH_BUILD=(.+)") == [build]
    assert lines(folder, "Dockerfile.cpu", r"^ARG TORCH_BUILD=(.+)") == ["cpu"]
    assert f'"TORCH_BUILD" {{ default = "{build}" }}' in (folder / "docker-bake.hcl").read_text()


@pytest.mark.parametrize("text", ["[x", "package = 1", "[[package]]", "package = ['torch']"])
def test_a_poetry_lock_that_is_none(project, text):
    folder = project("scripts", files={"poetry.lock": text})
    assert "poetry.lock cannot be read" in refused(folder, build=None)


@pytest.mark.parametrize("option", ["--code=it's", "--command=it's"])
def test_a_quote_that_is_not_closed(project, option):
    assert "it's has a quote that is not closed" in refused(project("scripts"), option)


def test_a_readme_above_the_project(project):
    files = edited(
        "scripts", "package-mode = false", 'package-mode = false\nreadme = "../README.md"'
    )
    folder = project("scripts", files=files)
    adopted(folder)
    assert lines(folder, "Dockerfile", r"^COPY (\S+) \1$") == DEV_LINES["scripts"]


@pytest.mark.parametrize("lock", [None, "package = []\n"])
def test_nothing_says_which_build_it_is(project, lock):
    folder = project("scripts", files={"poetry.lock": lock})
    assert "says which GPU build of torch" in refused(folder, build=None)


@pytest.mark.parametrize("build", ["cpu", "CU 126", "../x"])
def test_a_gpu_build_that_is_none(project, build):
    assert f"BUILD={build} is no GPU build" in refused(project("scripts"), build=build)


def test_code_and_command_can_be_named(project):
    folder = project("scripts", files={"ml/deep/a.py": "", "ml/b.yaml": ""})
    adopted(folder, "--code=ml/deep train.py ml/b.yaml", "--command=python -m deep.a 'x y'")
    copied = lines(folder, "Dockerfile", r"^COPY --link ([^-].+ /app/src.*)$")
    assert copied == [f"{x} /app/src/{y}" for x, y in
        [("ml/deep", "deep"), ("train.py", "train.py"), ("ml/b.yaml", "b.yaml")]]  # fmt: skip
    assert lines(folder, "Dockerfile", r"^CMD (.+)")[-1] == '["python", "-m", "deep.a", "x y"]'


@pytest.mark.parametrize("code", ["none", "../scripts", ".", "models models/../train.py", "/etc"])
def test_code_that_is_not_there(project, code):
    assert "CODE names " in refused(project("scripts"), f"--code={code}")


def test_a_script_of_poetrys_is_started(project):
    files = edited(
        "src", "[tool.poetry]\n", '[tool.poetry]\nscripts = { go = "ocean.waves:main" }\n'
    )
    files |= {"src/ocean/__main__.py": None, "train.py": None}
    folder = project("src", files=files)
    adopted(folder)
    expected = '["python", "-c", "import ocean.waves as m; raise SystemExit(m.main())"]'
    assert lines(folder, "Dockerfile", r"^CMD (.+)")[-1] == expected


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
def test_whatever_pyproject_says_it_is_one_sentence_or_a_project(tmp_path_factory, text):
    """No traceback, no half-written tree."""
    folder = existing.write(tmp_path_factory.mktemp("any"), {"train.py": ""})
    (folder / "pyproject.toml").write_bytes(text.encode(errors="replace"))
    existing.commit(folder)
    if adopt(folder).returncode:
        refused(folder)
    else:
        assert (folder / "Dockerfile.cpu").exists()
