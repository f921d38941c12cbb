"""What `./crate init` makes of the template, and what it refuses."""

import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import string
import subprocess
import sys
import termios
import time
import tomllib

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from template import commands, init
from template.tests.projects import (
    ANSWERS,
    GITCONFIG,
    NAME,
    PACKAGE,
    copy_template,
    crate,
    git,
    run,
    snapshot,
)
from torchcrate import VERSION
from torchcrate.host import TOP

SAMPLE = ("tests/test_*.py", "tests/image/*/test_sample*.py")

pytestmark = pytest.mark.template
OLD_NAME, OLD_PACKAGE = init.names({"pyproject.toml": (TOP / "pyproject.toml").read_bytes()})


@pytest.fixture(scope="session", autouse=True)
def git_settings(tmp_path_factory):
    """Let git read only these settings, and Python its default ones."""
    file = tmp_path_factory.mktemp("git") / "config"
    file.write_text(GITCONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_CONFIG_GLOBAL", str(file))
        patch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # as for users
        patch.delenv("PYTHONPYCACHEPREFIX", raising=False)
        yield


@pytest.fixture(scope="session")
def pristine(git_settings, tmp_path_factory):
    return copy_template(tmp_path_factory.mktemp("pristine"))


@pytest.fixture
def template(pristine, tmp_path):
    """Return a clone of the template, in a folder with a project's name."""
    return shutil.copytree(pristine, tmp_path / "some project", symlinks=True)


@pytest.fixture(scope="module")
def project(pristine, tmp_path_factory):
    """Return a project that `./crate init` made, with nothing committed yet. Do not change it."""
    folder = shutil.copytree(pristine, tmp_path_factory.mktemp("made") / "p", symlinks=True)
    done = crate(folder, "init", **ANSWERS)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def files(pristine):
    return init.tracked(pristine)


def sentence(done):
    """Return the one-sentence error of a command."""
    assert done.returncode == 1, done.stdout
    assert done.stdout == ""
    (line,) = (line for line in done.stderr.splitlines() if line)
    assert re.fullmatch(r"ERROR: .+[.)]", line)
    return line


# ---- The project ----


def found(folder, *patterns):
    """Return the lines of tracked files that match a pattern, from `git grep`."""
    return run(folder, "git", "grep", "--cached", "-nE", *patterns).stdout


def test_no_template_name(project):
    """The template's name is also in torchcrate/, so only places that name a project count."""
    name = rf"^# {OLD_NAME}|the {OLD_NAME} maintainers|(name = |default = )\"{OLD_NAME}\""
    assert found(project, "-e", name, "-e", "A template for", "--", ".", ":!torchcrate") == ""


def test_no_template_path(project):
    assert found(project, "-e", r"\btemplate/", "-e", r"(from|import) template\b") == ""
    assert found(project, "-e", "<!-- /?template -->") == ""


def test_package_renamed(project):
    old = rf"src/{OLD_PACKAGE}|(from|import|-m) {OLD_PACKAGE}\b|\"-m\", \"{OLD_PACKAGE}\""
    assert found(project, "-e", old) == ""
    assert not (project / "src" / OLD_PACKAGE).exists()
    package = "\n".join(file.read_text() for file in (project / "src" / PACKAGE).glob("*.py"))
    assert f"from {PACKAGE} import" in package
    assert f"from {PACKAGE} import" in (project / "tests/test_train.py").read_text()
    # As a word it stays.
    assert "handwritten digits" in (project / "src" / PACKAGE / "__init__.py").read_text()


def test_same_machinery(project, pristine):
    """torchcrate/ is not changed, so that an update can see edits of it."""
    tree = git(project, "write-tree")
    assert git(project, "rev-parse", f"{tree}:torchcrate") == (
        git(pristine, "rev-parse", "HEAD:torchcrate")
    )


def test_crate_works(project):
    done = run(project, "./crate", "--help")
    assert done.returncode == 0, done.stderr
    listed = set(re.findall(r"^    ([a-z-]+)\b", done.stdout, re.M))
    assert {"run", "test", "lint", "add"} <= listed
    assert not listed & (commands.COMMANDS.keys() - {"test"})
    assert "unit tests" not in done.stdout  # the template's `test` runs them too
    assert crate(project, "check").returncode == 0


def test_answers_in_files(project):
    made = tomllib.loads((project / "pyproject.toml").read_text())
    assert made["project"]["name"] == NAME
    assert made["project"]["description"] == ANSWERS["description"]
    assert made["project"]["authors"] == [{"name": "Zoë O'Neil", "email": "zoe+x@example.com"}]
    assert made["tool"]["poetry"]["packages"] == [{"include": PACKAGE, "from": "src"}]
    assert (project / "src" / PACKAGE / "__main__.py").is_file()
    assert f'CMD ["python", "-m", "{PACKAGE}"]' in (project / "Dockerfile").read_text()
    bake = (project / "docker-bake.hcl").read_text()
    assert 'variable "IMAGE" { default = "ghcr.io/me/my-image" }' in bake
    assert re.search(
        r"^Copyright \(c\) 20\d\d Zoë O'Neil$", (project / "LICENSE").read_text(), re.M
    )
    title, badge, description = (project / "README.md").read_text().split("\n\n")[:3]
    assert title == f"# {NAME}"
    workflow = "https://github.com/me/my.project/actions/workflows/ci.yml"
    assert badge == f"[![ci]({workflow}/badge.svg)]({workflow})"
    assert (project / ".github/workflows/ci.yml").is_file()
    assert description == ANSWERS["description"]


def test_pyproject_layout_kept(project, pristine):
    before = (pristine / "pyproject.toml").read_text().splitlines()
    after = (project / "pyproject.toml").read_text().splitlines()
    keys = ("name = ", "version = ", "description = ", "authors = ", "packages = ", '"tests/**"')
    other = [line.replace("{tests,template/tests,template/*_contract}", "tests") for line in before]
    assert [line for line in after if not line.startswith(keys)] == [
        line for line in other if not line.startswith(keys)
    ]
    assert [line.partition(" ")[0] for line in after] == [line.partition(" ")[0] for line in other]


def test_renovate_paths(project, pristine):
    before, after = (
        json.loads((folder / ".github/renovate.json").read_text()) for folder in (pristine, project)
    )
    del before["ignorePaths"]  # all are the template's
    before["pip_requirements"]["managerFilePatterns"].remove(r"/^template/tools\.in$/")
    assert after == before


def test_same_lock(project, pristine):
    assert (project / "poetry.lock").read_bytes() == (pristine / "poetry.lock").read_bytes()
    done = run(project, str(TOP / ".tools/poetry/bin/poetry"), "check", "--lock")
    assert done.returncode == 0, done.stdout + done.stderr


def test_binary_files(project, pristine):
    digits = "data/digits.csv.gz"
    assert (project / "src" / PACKAGE / digits).read_bytes() == (
        pristine / "src" / OLD_PACKAGE / digits
    ).read_bytes()


def test_all_staged(project, pristine):
    assert git(project, "rev-parse", "HEAD") == git(pristine, "rev-parse", "HEAD")
    assert git(project, "diff", "--name-only") == ""
    assert git(project, "ls-files", "--others", "--exclude-standard") == ""


def test_record(project, pristine):
    recorded = tomllib.loads((project / ".template.toml").read_text())
    assert recorded["tree"] == git(pristine, "rev-parse", "HEAD^{tree}")
    assert recorded["version"] == VERSION
    assert recorded["answers"] == ANSWERS | {"year": time.strftime("%Y")}


def test_template_files_removed(project):
    """So does the bytecode of the command that made the project."""
    assert (project / "torchcrate/__pycache__").is_dir()
    assert [name for name in init.TEMPLATE_ONLY if (project / name).exists()] == []


def test_lint(project, tmp_path):
    """Even with the longest package name."""
    folder = shutil.copytree(project, tmp_path / "p", symlinks=True)
    lint = crate(folder, "lint")
    edits = git(folder, "diff")  # made by hooks
    assert (lint.returncode, edits) == (0, ""), lint.stdout + lint.stderr + edits


@pytest.mark.parametrize("sample", [True, False], ids=["sample", "no sample"])
def test_contract_collected(project, tmp_path, sample):
    """No other test needs the sample, which the message says how to delete."""
    folder = shutil.copytree(project, tmp_path / "p", symlinks=True)
    if not sample:
        git(folder, "rm", "-r", "--quiet", "--force", *SAMPLE)
        assert found(folder, "-e", rf"(from|import) {PACKAGE}\b", "--", "tests") == ""
    config = ("-c", "torchcrate/testing/pytest.ini", "--rootdir=.")
    images = ("--image=runtime=no-image", "--image=dev=no-image", "--build=cpu")
    command = ("-m", "pytest", *config, *images, "--collect-only", "-q", "-p", "no:cacheprovider")
    done = run(folder, sys.executable, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("test_sample" in done.stdout) == sample
    assert "tests/image/torch/test_torch_build.py" in done.stdout


def test_project_size(project):
    """Locks, packed data and keys do not count. Lower the limits, never raise them."""
    names = [
        name
        for name in git(project, "ls-files").splitlines()
        if not name.startswith("locks/") and not name.endswith((".gz", ".png", ".asc", ".lock"))
    ]
    texts = {name: (project / name).read_text() for name in names}
    code = [
        name
        for name, text in texts.items()
        if name.endswith((".py", ".sh")) or re.match(r"#!.*(python|sh)\b", text)
    ]

    def lines(some):
        return sum(len(texts[name].splitlines()) for name in some)

    assert len(names) <= 93
    assert len([name for name in names if not name.startswith("torchcrate/")]) <= 53
    assert lines(names) <= 8841, sorted((lines([name]), name) for name in names)
    assert lines(code) <= 7148
    assert lines(["README.md"]) <= 80
    assert len((TOP / "README.md").read_text().splitlines()) <= 110
    workflows = (TOP / ".github/workflows").glob("*.yml")
    assert sum(len(file.read_text().splitlines()) for file in workflows) <= 230


def test_next_steps(template):
    done = crate(template, "init", name="my-project")
    assert done.stderr == ""
    assert "src/my_project" in done.stdout
    assert "git commit --message 'Start my-project'" in done.stdout
    for name in SAMPLE:
        assert name in done.stdout
    recorded = tomllib.loads((template / ".template.toml").read_text())["answers"]
    assert recorded["author"] == "Git User <git@example.com>"
    assert recorded["image"] == "my-project"
    assert recorded["repository"] == ""


# ---- Asking ----


def at_a_terminal():
    """Let Ctrl-C reach this process, even if a shell without job control started it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def terminal(folder, *answers):
    """Run `./crate init` in a terminal with answers; return its exit code and output."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "crate", "init"],
        cwd=folder,
        stdin=child,
        stdout=child,
        stderr=child,
        start_new_session=True,
        preexec_fn=at_a_terminal,
    )
    os.close(child)
    screen, left = "", list(answers)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if not select.select([parent], [], [], 0.1)[0]:
            if left and screen.endswith(": "):
                os.write(parent, left.pop(0).encode())
                screen += "\x00"  # answered
            continue
        try:
            data = os.read(parent, 65536)
        except OSError:  # it has ended
            break
        screen += data.decode()
    process.kill()
    os.close(parent)
    return process.wait(), screen.replace("\x00", "").replace("\r\n", "\n")


def test_questions(template):
    git(template, "remote", "add", "origin", "git@github.com:me/some-project.git")
    # A bad name, a good one, then all suggestions but one.
    code, screen = terminal(template, "torch\n", "\n", "\n", "Quite mine\n", "\n", "\n", "\n")
    assert code == 0, screen
    assert "torch is a package that the project depends on" in screen
    assert "Name of the project [some-project]: " in screen
    assert "Python package [some_project]: " in screen
    answers = tomllib.loads((template / ".template.toml").read_text())["answers"]
    del answers["year"]
    assert answers == {
        "name": "some-project",
        "package": "some_project",
        "description": "Quite mine",
        "author": "Git User <git@example.com>",
        "image": "some-project",
        "repository": "me/some-project",
    }


@pytest.mark.parametrize("key", ["\x04", "\x03"], ids=["Ctrl-D", "Ctrl-C"])
def test_stop_at_question(template, key):
    before = snapshot(template)
    code, screen = terminal(template, "my-project\n", key)
    assert code, screen
    assert "ERROR: Stopped before the end: nothing was written." in screen
    assert "Traceback" not in screen
    assert snapshot(template) == before


def test_no_suggestion_from_clone(pristine, tmp_path):
    folder = shutil.copytree(pristine, tmp_path / OLD_NAME, symlinks=True)
    git(folder, "remote", "add", "origin", f"https://github.com/them/{OLD_NAME}.git")
    code, screen = terminal(folder, "mine\n", *["\n"] * 5)
    assert code == 0, screen
    assert "Name of the project: " in screen
    answers = tomllib.loads((folder / ".template.toml").read_text())["answers"]
    assert answers["repository"] == ""


# ---- Refusing ----

REFUSED = {
    "--name=": "'' is not a valid project name",
    "--name=-x": "'-x' is not a valid project name",
    "--name=a b": "'a b' is not a valid project name",
    "--name=über": "'über' is not a valid project name",
    "--name=a\n": r"'a\\n' is not a valid project name",
    f"--name={'a' * 101}": "is not a valid project name",
    f"--name={OLD_NAME.upper()}": "is the template's own name",
    "--name=Torch": "Torch is a package that the project depends on",
    "--name=NumPy": "NumPy is a package that the project depends on",
    "--name=3d": "'3d' is not a valid package name",
    "--name=class": "'class' is not a valid package name",
    "--name=queue": "A package queue would hide another",
    f"--name={'a' * 41}": "has 41 letters, and at most 40 are allowed",
    "--package=My_package": "'My_package' is not a valid package name",
    "--package=päckage": "is not a valid package name",
    "--package=a-b": "'a-b' is not a valid package name",
    "--package=": "'' is not a valid package name",
    "--package=torchvision": "A package torchvision would hide another",
    "--package=tests": "A package tests would hide another",
    "--package=typing_extensions": "would hide another",
    f"--package={OLD_PACKAGE}": "is the template's own name",
    "--description=": "The description '' is not one line",
    "--description=a\nb": r"The description 'a\\nb' is not one line",
    "--description=a\x1b[2J": r"The description 'a\\x1b\[2J' is not one line",
    "--author=": "'' is not a valid author",
    "--author=Me, Myself": "'Me, Myself' is not a valid author",
    "--author=Me <me>": "'Me <me>' is not a valid author",
    "--author=Me <me@localhost>": "'Me <me@localhost>' is not a valid author",
    "--author=<me@example.com>": "is not a valid author",
    "--image=My-Project": "'My-Project' is not a valid image name",
    "--image=a:tag": "'a:tag' is not a valid image name",
    "--image=a/": "'a/' is not a valid image name",
    "--repository=project": "'project' is not a GitHub repository",
    "--repository=https://github.com/a/b": "is not a GitHub repository",
}


@pytest.mark.parametrize("flag", REFUSED, ids=lambda flag: ascii(flag)[1:40])
def test_bad_answers(files, tmp_path, flag):
    key, _, value = flag.removeprefix("--").partition("=")
    with pytest.raises(init.InitError, match=REFUSED[flag]) as caught:
        init.complete({"name": "my-project", key: value}, files, tmp_path, ask=False)
    assert re.fullmatch(r".+[.)]", str(caught.value))


@pytest.mark.parametrize(
    "flags, says",
    [
        ([], "The name is missing: add --name my-project."),
        (["--name=a b"], "'a b' is not a valid project name"),
        (["--name=a", "--into=."], "exists already"),
        (["--name=a", "--into=no/such/folder"], "There is no folder"),
        (["--name=a", "--answers=no/such"], "no/such has no answers"),
        (["--name=class", "--into=new"], "'class' is not a valid package name"),
    ],
)
def test_refusal_changes_nothing(template, flags, says):
    before = snapshot(template)
    assert says in sentence(crate(template, "init", *flags))
    assert snapshot(template) == before
    assert list(template.parent.iterdir()) == [template]


def test_no_author(template, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    assert "The author is missing: add --author " in sentence(crate(template, "init", name="a"))


def test_author_without_address(template):
    """An address that Poetry refuses, such as root@localhost, is left out."""
    git(template, "config", "user.email", "root@localhost")
    assert crate(template, "init", name="a").returncode == 0
    recorded = tomllib.loads((template / ".template.toml").read_text())["answers"]
    assert recorded["author"] == "Git User"


@pytest.mark.parametrize("name", ["README.md", "new"])
@pytest.mark.parametrize("into", [False, True], ids=["here", "into"])
def test_dirty_tree(template, name, into):
    with (template / name).open("a") as file:
        file.write("mine\n")
    before = snapshot(template)
    options = ANSWERS | ({"into": "../new"} if into else {})
    assert "has changes that are not committed" in sentence(crate(template, "init", **options))
    assert snapshot(template) == before
    assert list(template.parent.iterdir()) == [template]


def test_second_run(project):
    """A project has no command `init`. The function names the command to use instead."""
    before = snapshot(project)
    done = crate(project, "init", name="other")
    assert done.returncode == 2 and "invalid choice: 'init'" in done.stderr
    with pytest.raises(init.InitError, match="is a project already.+`./crate update --into"):
        init.tree_to_take(project)
    assert snapshot(project) == before


def test_no_git(template):
    shutil.rmtree(template / ".git")
    before = snapshot(template)
    assert "is not a git repository: run `git init" in sentence(crate(template, "init", **ANSWERS))
    assert snapshot(template) == before


def test_git_that_refuses(template, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(SystemExit, match="belongs to another user: run `git config --global --add"):
        init.git(template, "rev-parse", "HEAD")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SystemExit, match="git is not installed: install it"):
        init.git(template, "rev-parse", "HEAD")


def test_no_template(tmp_path):
    with pytest.raises(init.InitError, match="There is no template here"):
        init.tree_to_take(tmp_path)


@pytest.mark.parametrize("count", [0, 1, 7, 15])
def test_full_disk(template, monkeypatch, count):
    """The disk is full after `count` files."""
    before, left = snapshot(template), [count]
    write_bytes = init.Path.write_bytes

    def full(self, data):
        if self.is_relative_to(template):
            left[0] -= 1
            if left[0] == -1:
                raise OSError(28, "No space left on device")
        return write_bytes(self, data)

    monkeypatch.setattr(init.Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        init.initialise(template, ANSWERS, ask=False)
    assert left[0] < 0
    assert snapshot(template) == before


def test_stop_while_writing(template, monkeypatch):
    before = snapshot(template)

    git_must = init.git_must

    def stop(folder, *arguments):
        found = git_must(folder, *arguments)
        if arguments[0] == "add":
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(init, "git_must", stop)
    with pytest.raises(KeyboardInterrupt):
        init.initialise(template, {"name": "mine"}, ask=False)
    assert snapshot(template) == before


# ---- A new folder ----


def test_new_folder(project, template, tmp_path):
    """The same project, without the template's history; the clone does not change."""
    before = snapshot(template)
    into = tmp_path / "new project"
    done = crate(template, "init", into="../new project", **ANSWERS)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert f"The project is in {into}: begin with `cd " in done.stdout
    assert git(into, "write-tree") == git(project, "write-tree")
    assert run(into, "git", "log", "--all").stdout == ""
    assert git(into, "remote") == ""
    assert git(into, "status", "--porcelain").count("\n") == git(into, "ls-files").count("\n")
    ignored = git(into, "ls-files", "--others", "--ignored", "--directory", "--exclude-standard")
    assert ignored == ""  # no link to the environments of the clone, no bytecode
    assert sorted(tmp_path.iterdir()) == [into, template]
    assert snapshot(template) == before


@pytest.mark.parametrize("into", [False, True], ids=["here", "into"])
def test_answers_option(project, template, tmp_path, into):
    """An option replaces one of them."""
    more = {"into": str(tmp_path / "new")} if into else {}
    answers = str(project / ".template.toml")
    done = crate(template, "init", answers=answers, description="Other", **more)
    assert done.returncode == 0, done.stderr
    text = (more.get("into", template) / init.Path(".template.toml")).read_text()
    recorded = tomllib.loads((project / ".template.toml").read_text())["answers"]
    assert tomllib.loads(text)["answers"] == recorded | {"description": "Other"}


def test_name_from_folder(template, tmp_path):
    """The suggested name is the new folder's, not the clone's."""
    found = init.suggestions("", tmp_path / "new project")
    assert found == {"name": "new-project"}


# ---- Any text ----


def texts(likely):
    """Return a strategy for mostly good answers, because one bad answer fails the command."""
    anything = st.text(max_size=50) | st.text(string.printable, max_size=50)
    return st.integers(0, 9).flatmap(lambda number: likely if number else anything)


GIVEN = st.fixed_dictionaries(
    {"name": texts(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,30}[A-Za-z0-9]", fullmatch=True))},
    optional={
        "package": texts(st.from_regex(r"[a-z_][a-z0-9_]{0,45}", fullmatch=True)),
        "description": texts(st.text(st.characters(categories=["L", "P", "S", "N"]), min_size=1)),
        "author": texts(
            st.from_regex(r"\w[\w '.-]{0,20}( <[a-z.+%]{1,9}@[a-z0-9.-]{1,9}>)?", fullmatch=True)
        ),
        "image": texts(st.from_regex(r"([a-z]{2}\.io(:\d)?/)?[a-z0-9._-]{1,20}", fullmatch=True)),
        "repository": texts(st.from_regex(r"[a-zA-Z-]{1,9}/[A-Za-z._-]{1,9}", fullmatch=True)),
    },
)


def test_any_answers(files, tmp_path):
    """Never a traceback. At the end, Poetry checks all pyproject.toml files at once."""
    made = []
    count = {"refused": 0}
    light = {  # the files with the name in them, and poetry.lock for the names in use
        path: content
        for path, content in files.items()
        if path in init.SPECIAL or path == "poetry.lock" or path.startswith("src/")
    }
    lock = b"".join(
        b'[[package]]\nname = "%s"\n' % name
        for name in re.findall(rb'^name = "(.+)"$', light["poetry.lock"], re.M)
    )
    light["poetry.lock"] = lock

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(GIVEN)
    def check(given):
        try:
            answers = init.complete(given, light, tmp_path, ask=False)
        except init.InitError as error:
            assert re.fullmatch(r"[^\n\r]+[.)]", str(error))
            assert str(error).isprintable()
            count["refused"] += 1
            return
        after = init.render(light, answers)
        project = tomllib.loads(after["pyproject.toml"].decode())
        assert project["project"]["name"] == answers["name"]
        assert project["project"]["description"] == answers["description"]
        package = project["tool"]["poetry"]["packages"][0]["include"]
        assert package.isidentifier() and package.isascii()
        compile(f"import {package}", "", "exec")
        assert f"src/{package}/__init__.py" in after
        for path, content in after.items():
            if path.endswith(".py"):
                compile(content, path, "exec")
        assert tomllib.loads(init.record(answers, "0" * 40))["answers"] == answers
        assume(OLD_PACKAGE not in " ".join(given.values()).lower())
        code = b"".join(after.values())
        assert not re.search(rf"(src/|from |import |-m ){OLD_PACKAGE}\b".encode(), code)
        made.append(after["pyproject.toml"].decode())

    check()
    assert count["refused"] > 5 and len(made) > 5
    valid = """import json, sys, tomllib; from poetry.core.factory import Factory
for text in json.load(sys.stdin):
    found = Factory.validate(tomllib.loads(text), strict=True)
    assert not any(found.values()), (found, text)"""
    python = str(TOP / ".tools/poetry/bin/python")
    done = run(TOP, python, "-c", valid, stdin=None, input=json.dumps(made))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "path, before, after",
    [
        ("a.md", "in `src/old_name/a.py`", "in `src/new_p/a.py`"),
        ("a.md", "python -m old_name", "python -m new_p"),
        ("a.md", "python -m old_name.train", "python -m new_p.train"),
        ("a.md", "of old_name", "of old_name"),
        ("a.md", "from old_names", "from old_names"),
        ("a.md", "a\n<!-- template -->\nb\n<!-- /template -->\n\nc", "a\nc"),
        ("a.yml", "a:\n# <!-- template -->\n  b:\n# <!-- /template -->\n  c:\n", "a:\n  c:\n"),
        ("a.py", "from old_name.a import old_name", "from new_p.a import new_p"),
        ("a.py", "import old_name", "import new_p"),
        ("a.py", 'prog="old_name"', 'prog="new_p"'),
        ("a.py", "old_name = 1", "old_name = 1"),
        ("Dockerfile", 'CMD ["python", "-m", "old_name"]', 'CMD ["python", "-m", "new_p"]'),
        ("torchcrate/a.py", "import old_name", "import old_name"),
        ("a.bin", "\0import old_name", "\0import old_name"),
    ],
)
def test_rename(path, before, after):
    files = {
        "pyproject.toml": b'[project]\nname = "old-name"\n'
        b'[tool.poetry]\npackages = [{ include = "old_name", from = "src" }]\n',
        path: before.encode(),
    }
    answers = {
        "name": "New.Name",
        "package": "new_p",
        "image": "new-image",
        "author": "Me",
        "description": "Mine",
        "repository": "",
    }
    assert init.render(files, answers)[path].decode() == after


@pytest.mark.parametrize(
    "origin, suggested",
    [
        ("https://github.com/me/my.project.git", "me/my.project"),
        ("https://github.com/me/p/", "me/p"),
        ("git@github.com:me/p.git", "me/p"),
        ("ssh://git@github.com/me/p", "me/p"),
        ("https://gitlab.com/me/p.git", ""),
        ("https://notgithub.com/me/p", ""),
        ("/github.com/me", ""),
    ],
)
def test_repository_from_origin(tmp_path, origin, suggested):
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "remote", "add", "origin", origin)
    assert init.suggestions("a", tmp_path)["repository"] == suggested
