"""`make update` merges a newer template, and loses nothing that was changed in the project."""

import os
import shutil
import tomllib

import pytest

from template import (
    ANSWERS,
    GITCONFIG,
    PACKAGE,
    TOP,
    commit,
    copy_template,
    git,
    make,
    run,
    share_tools,
    snapshot,
    start,
)

pytestmark = pytest.mark.template

(OLD_PACKAGE,) = (path.parent.name for path in (TOP / "src").glob("*/__init__.py"))
SAMPLE = ("tests/sample", "tests/images/sample_mutations.py")


@pytest.fixture(scope="module", autouse=True)
def git_settings(tmp_path_factory):
    """Have git and its children read these settings alone."""
    file = tmp_path_factory.mktemp("git") / "config"
    file.write_text(GITCONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_CONFIG_GLOBAL", str(file))
        patch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
        yield


@pytest.fixture(scope="module")
def pristine(git_settings, tmp_path_factory):
    """Return the template with one commit, and a project that was made from it and committed."""
    folder = tmp_path_factory.mktemp("pristine")
    copy_template(folder / "template")
    done = make(folder / "template", "init", INTO=str(folder / "project"), **ANSWERS)
    assert done.returncode == 0, done.stderr
    share_tools(folder / "project")
    commit(folder / "project", "Start")
    return folder


@pytest.fixture
def folders(pristine, tmp_path, monkeypatch):
    """Return a clone of the template and one of the project; what is temporary is in a third."""
    for name in ("template", "project"):
        shutil.copytree(pristine / name, tmp_path / name, symlinks=True)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    return tmp_path / "template", tmp_path / "project"


def edit(folder, name, old, new):
    """Replace a text that is in a file once."""
    text = (folder / name).read_text()
    assert text.count(old) == 1, f"{name}: {text.count(old)} times {old}"
    (folder / name).write_text(text.replace(old, new))


def append(folder, name, text):
    with (folder / name).open("a") as file:
        file.write(text)


def update(template, project, code=0, **more):
    """Commit what is new on both sides, update, and return what was said."""
    for folder in (template, project):
        if git(folder, "status", "--porcelain"):
            commit(folder)
    done = make(project, "update", TEMPLATE=str(template), **more)
    assert bool(done.returncode) == bool(code), done.stdout + done.stderr
    assert list((project.parent / "temporary").iterdir()) == []
    return done.stdout


def refused(project, **variables):
    """Return the sentence with which an update was refused, with nothing changed."""
    before = snapshot(project)
    done = make(project, "update", **variables)
    assert done.returncode == 2, done.stdout
    first, *rest = done.stderr.splitlines()
    assert first.startswith("ERROR: ") and first.endswith((".", ")"))
    assert all(line.startswith("make: ") for line in rest), done.stderr
    assert snapshot(project) == before
    assert list((project.parent / "temporary").iterdir()) == []
    return first


def test_both_sides_stay(folders):
    template, project = folders
    edit(template, "Dockerfile", "# ---- base:", "# Newer.\n# ---- base:")
    append(template, "scripts/host.py", f"\n\n# See src/{OLD_PACKAGE}.\n")
    (template / "newer.md").write_text(f"Of {OLD_PACKAGE}:\n\n    python -m {OLD_PACKAGE}\n")
    (template / ".ci/run").unlink()
    edit(project, "Dockerfile", 'ENTRYPOINT []\nCMD ["bash"]', '# Mine.\nCMD ["bash"]')
    append(project, "README.md", "\nMine.\n")
    edit(project, ".template.toml", "# What this", "# Mine: what this")  # beside the tree's line
    (project / "mine.md").write_text("Mine.\n")
    commit(project)
    history = git(project, "rev-list", "--all")
    said = update(template, project)
    assert "Both sides" not in said
    assert "# Newer.\n# ---- base:" in (project / "Dockerfile").read_text()
    assert "# Mine.\nCMD" in (project / "Dockerfile").read_text()
    assert f"# See src/{PACKAGE}." in (project / "scripts/host.py").read_text()
    newer = f"Of {ANSWERS['NAME']}:\n\n    python -m {PACKAGE}\n"
    assert (project / "newer.md").read_text() == newer
    assert not (project / ".ci/run").exists()
    assert (project / "README.md").read_text().endswith("\nMine.\n")
    assert (project / "mine.md").read_text() == "Mine.\n"
    # The record is of the newer template, with the same answers.
    recorded = tomllib.loads((project / ".template.toml").read_text())
    assert recorded["tree"] == git(template, "rev-parse", "HEAD^{tree}")
    assert recorded["answers"]["package"] == PACKAGE
    # All is staged and nothing committed; nothing of the template is left in git.
    assert git(project, "diff", "--name-only") == ""
    assert git(project, "rev-list", "--all") == history
    assert not (project / ".git/FETCH_HEAD").exists()
    assert not (project / ".git/CHERRY_PICK_HEAD").exists()
    assert git(project, "worktree", "list").count("\n") == 0
    commit(project)
    assert "Nothing to do" in update(template, project)
    assert git(project, "status", "--porcelain") == ""


def test_only_the_same_lines_conflict(folders):
    template, project = folders
    for folder, who in ((template, "Theirs"), (project, "Mine")):
        edit(folder, "Makefile", "PYTHON ?= python3", f"PYTHON ?= {who}3")
    edit(template, "Makefile", ".PHONY: help", "# Newer.\n.PHONY: help")
    append(template, "locks/uv.in", "# newer\n")
    append(project, "Dockerfile", "# Mine.\n")
    commit(template), commit(project)
    done = run(project, ".tools/tests/bin/python", "scripts/update.py", f"--template={template}")
    assert (done.returncode, done.stderr) == (1, "")
    assert "Both sides changed the same lines of Makefile:" in done.stdout
    assert "git reset --hard" in done.stdout
    assert git(project, "diff", "--name-only", "--diff-filter=U") == "Makefile"
    text = (project / "Makefile").read_text()
    assert "\n<<<<<<< HEAD\nPYTHON ?= Mine3\n=======\nPYTHON ?= Theirs3\n>>>>>>> " in text
    assert text.count("<<<<<<<") == 1
    assert "# Newer.\n.PHONY: help" in text
    assert (project / "locks/uv.in").read_text().endswith("# newer\n")
    git(project, "reset", "--quiet", "--hard")
    assert git(project, "status", "--porcelain") == ""


def test_a_deleted_sample_stays_deleted(folders):
    template, project = folders
    edit(template, f"src/{OLD_PACKAGE}/data.py", "CLASSES = 10", "CLASSES = 11")
    edit(template, "tests/sample/test_data.py", "import pytest", "import pytest  # newer")
    (template / "tests/sample/test_new.py").write_text(f"import {OLD_PACKAGE}  # noqa: F401\n")
    git(project, "rm", "-r", "--quiet", *SAMPLE, f"src/{PACKAGE}/data.py")
    said = update(template, project)
    assert not (project / "tests/sample").exists()
    assert not (project / f"src/{PACKAGE}/data.py").exists()
    for name in (f"src/{PACKAGE}/data.py", "tests/sample/test_data.py", "tests/sample/test_new.py"):
        assert name in said
    assert git(project, "status", "--porcelain") == "M  .template.toml"


def test_a_sample_that_is_still_there_is_updated(folders):
    template, project = folders
    edit(template, f"src/{OLD_PACKAGE}/data.py", "CLASSES = 10", "CLASSES = 11")
    (template / "tests/sample/test_new.py").write_text(f"import {OLD_PACKAGE}  # noqa: F401\n")
    update(template, project)
    assert "CLASSES = 11" in (project / f"src/{PACKAGE}/data.py").read_text()
    assert f"import {PACKAGE}" in (project / "tests/sample/test_new.py").read_text()


def test_what_the_template_deleted_and_the_project_changed_stays(folders):
    template, project = folders
    (template / ".ci/run").unlink()
    append(project, ".ci/run", "# Mine.\n")
    said = update(template, project)
    assert "kept, though the template deleted it: .ci/run." in said
    assert (project / ".ci/run").read_text().endswith("# Mine.\n")
    assert git(project, "status", "--porcelain") == "M  .template.toml"


def test_locks_that_both_changed_are_made_again(folders):
    """They are the project's, without a mixture of two locks, and `make lock` is to follow."""
    template, project = folders
    for folder, who in ((template, "theirs"), (project, "mine")):
        edit(folder, "poetry.lock", 'lock-version = "2.1"', f'lock-version = "2.1" # {who}')
        edit(folder, "Dockerfile.cpu", "ARG TORCH_BUILD=cpu", f"ARG TORCH_BUILD={who}")
    edit(template, "poetry.lock", "# This file is", "# Theirs, in other lines, this file is")
    git(project, "rm", "--quiet", "locks/torch.cu130.txt")
    append(template, "locks/torch.cu130.txt", "# newer\n")
    mine = (project / "poetry.lock").read_bytes()
    said = update(template, project)
    assert "yours still: poetry.lock, Dockerfile.cpu." in said
    assert "Next: `make lock`, `make --always-make Dockerfile.cpu`, `make test`" in said
    assert (project / "poetry.lock").read_bytes() == mine
    assert "ARG TORCH_BUILD=mine" in (project / "Dockerfile.cpu").read_text()
    assert not (project / "locks/torch.cu130.txt").exists()
    assert git(project, "status", "--porcelain") == "M  .template.toml"


def test_a_lock_that_only_the_template_changed_is_taken(folders):
    template, project = folders
    edit(template, "poetry.lock", 'lock-version = "2.1"', 'lock-version = "2.1" # theirs')
    append(project, "README.md", "\nMine.\n")
    assert "make lock" not in update(template, project)
    assert "# theirs" in (project / "poetry.lock").read_text()


def test_dependencies_of_both_sides_want_a_lock(folders):
    template, project = folders
    edit(template, "pyproject.toml", '    "tqdm ', '    "six (==1.17)",\n    "tqdm ')
    edit(project, "pyproject.toml", "# Yours, in", "# Mine, in")
    assert "Next: `make lock`, `make test`" in update(template, project)
    text = (project / "pyproject.toml").read_text()
    assert '"six (==1.17)"' in text and "# Mine, in" in text


def test_a_use_this_template_copy(folders):
    """Another commit with the template's tree, made a project in place."""
    template, project = folders
    shutil.rmtree(project)
    shutil.copytree(template, project, symlinks=True)
    shutil.rmtree(project / ".git")
    (project / ".tools").unlink()
    start(project)
    commit(project, "Initial commit")
    assert make(project, "init", NAME="mine").returncode == 0
    edit(template, "Dockerfile", "# ---- base:", "# Newer.\n# ---- base:")
    update(template, project)
    assert "# Newer." in (project / "Dockerfile").read_text()
    assert 'CMD ["python", "-m", "mine"]' in (project / "Dockerfile").read_text()


def test_from_a_url_at_a_tag(folders):
    template, project = folders
    for number in ("1", "2"):
        append(template, "Dockerfile", f"# Newer {number}.\n")
        commit(template)
        git(template, "tag", f"v{number}")
    done = make(project, "update", TEMPLATE=f"file://{template}", REF="v1")
    assert done.returncode == 0, done.stderr
    assert "# Newer 1.\n" in (project / "Dockerfile").read_text()
    assert "# Newer 2.\n" not in (project / "Dockerfile").read_text()


def test_refused(folders):
    template, project = folders
    append(template, "Dockerfile", "# Newer.\n")
    commit(template)
    assert "Say where the newer template is" in refused(project)
    assert "git cannot fetch 'no/such'" in refused(project, TEMPLATE="no/such")
    assert "'--upload-pack=x' blocked" in refused(project, TEMPLATE="--upload-pack=x")
    there = {"TEMPLATE": str(template)}
    assert "no branch, tag or commit 'no-such'" in refused(project, REF="no-such", **there)
    assert "no branch, tag or commit '--all'" in refused(project, REF="--all", **there)
    other = project.parent / "other"
    other.mkdir()
    start(other)
    (other / "file").touch()
    commit(other)
    assert "has no commit with the tree" in refused(project, TEMPLATE=str(other))
    (project / "new").touch()
    assert "has changes that are not committed" in refused(project, **there)
    (project / "new").unlink()
    (project / ".template.toml").write_text("no [toml")
    assert "names no tree" in refused(project, **there)
    (project / ".template.toml").unlink()
    assert "has no .template.toml" in refused(project, **there)


@pytest.mark.parametrize("how", ["deleted", "broken"])
def test_a_template_that_cannot_be_rendered(folders, how):
    template, project = folders
    if how == "deleted":
        (template / "scripts/init.py").unlink()
    else:
        (template / "scripts/init.py").write_text("raise SystemExit('ERROR: It is broken.')\n")
    commit(template)
    said = refused(project, TEMPLATE=str(template))
    assert ("has no scripts/init.py" if how == "deleted" else "says: It is broken.") in said


def test_an_ignored_file_in_the_way(folders):
    """Git would overwrite it."""
    template, project = folders
    append(template, "Dockerfile", "# Newer.\n")
    (template / "mine.txt").write_text("theirs\n")
    commit(template)
    append(project, ".gitignore", "/mine.txt\n")
    commit(project)
    (project / "mine.txt").write_text("mine\n")
    assert "mine.txt, which git ignores here, is new" in refused(project, TEMPLATE=str(template))
    assert (project / "mine.txt").read_text() == "mine\n"
