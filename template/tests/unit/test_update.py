"""`./crate update` merges a newer template, and loses nothing that was changed in the project."""

import os
import re
import shutil
import tomllib

import pytest

from template.tests import existing
from template.tests.projects import (
    ANSWERS,
    GITCONFIG,
    PACKAGE,
    commit,
    copy_template,
    crate,
    git,
    share_tools,
    snapshot,
    start,
)
from torchcrate.host import TOP

pytestmark = pytest.mark.template

(OLD_PACKAGE,) = (path.parent.name for path in (TOP / "src").glob("*/__init__.py"))
SAMPLE = ("tests/test_*.py", "tests/image/*/test_sample*.py")  # as `./crate init` says


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
    done = crate(folder / "template", "init", into=str(folder / "project"), **ANSWERS)
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


def update(template, project, *flags, code=0):
    """Commit what is new on both sides, update, and return what was said."""
    for folder in (template, project):
        if git(folder, "status", "--porcelain"):
            commit(folder)
    done = crate(template, "update", *flags, into=str(project))
    assert (done.returncode, done.stderr) == (code, ""), done.stdout + done.stderr
    assert list((project.parent / "temporary").iterdir()) == []
    return done.stdout


def refused(template, project):
    """Return the sentence with which an update was refused, with nothing changed."""
    before = snapshot(project)
    done = crate(template, "update", into=str(project))
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert re.fullmatch(r"ERROR: .+[.)]", line)
    assert snapshot(project) == before
    assert list((project.parent / "temporary").iterdir()) == []
    return line


def machinery(folder, tree):
    """Return the id of the folder torchcrate/ in a tree."""
    return git(folder, "rev-parse", f"{tree}:torchcrate")


def test_both_sides_stay(folders):
    template, project = folders
    edit(template, "Dockerfile", "# ---- base:", "# Newer.\n# ---- base:")
    (template / "newer.md").write_text(f"Of {OLD_PACKAGE}:\n\n    python -m {OLD_PACKAGE}\n")
    (template / "docs/ci.md").unlink()
    edit(project, "Dockerfile", 'ENV HOME=/tmp USER=dev\nCMD ["bash"]', '# Mine.\nCMD ["bash"]')
    append(project, "README.md", "\nMine.\n")
    edit(project, ".template.toml", "# What this", "# Mine: what this")  # beside the tree's line
    (project / "mine.md").write_text("Mine.\n")
    commit(project)
    history = git(project, "rev-list", "--all")
    said = update(template, project)
    assert "Both sides" not in said
    assert "# Newer.\n# ---- base:" in (project / "Dockerfile").read_text()
    assert "# Mine.\nCMD" in (project / "Dockerfile").read_text()
    newer = f"Of {OLD_PACKAGE}:\n\n    python -m {PACKAGE}\n"
    assert (project / "newer.md").read_text() == newer
    assert not (project / "docs/ci.md").exists()
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


# What a project edits by right, and what the template may change in the same file.
EDITS = {
    "Dockerfile": ('ENV HOME=/tmp USER=dev\nCMD ["bash"]', "# ---- base:"),
    "pyproject.toml": ("# Yours, in", "[build-system]"),
    "apt/runtime.txt": ("# Packages that apt installs", None),
    "tests/test_data.py": ("import pytest", None),
    "tests/image/runtime/test_permissions.py": (None, None),
    ".github/workflows/ci.yml": ("name: ci", "permissions: {}"),
    "docker-bake.hcl": ('variable "VERSION"', 'group "default"'),
    ".gitignore": ("/results/", "/.tools\n"),
}


def test_a_projects_edits_stay(folders):
    template, project = folders
    for name, (mine, theirs) in EDITS.items():
        for folder, who, text in ((project, "Mine", mine), (template, "Theirs", theirs)):
            if text:
                edit(folder, name, text, f"# {who}.\n{text}")
    name = "tests/image/runtime/test_permissions.py"
    append(project, name, "# Mine.\n")
    append(project, "apt/runtime.txt", "libgl1\n")
    (project / "tests/test_mine.py").write_text("# Mine.\n")
    (project / ".github/workflows/mine.yml").write_text("# Mine.\n")
    said = update(template, project)
    assert "Both sides" not in said
    for name, (_, theirs) in EDITS.items():
        text = (project / name).read_text()
        assert "# Mine.\n" in text and ("# Theirs.\n" in text) == bool(theirs), name
    assert (project / "apt/runtime.txt").read_text().endswith("libgl1\n")
    assert (project / "tests/test_mine.py").is_file()
    assert (project / ".github/workflows/mine.yml").is_file()


def test_the_machinery_is_replaced_whole(folders):
    template, project = folders
    append(template, "torchcrate/host.py", f"\n\n# See src/{OLD_PACKAGE}.\n")
    (template / "torchcrate/newer").mkdir()
    (template / "torchcrate/newer/it.py").write_text('"""Newer."""\n')
    (template / "torchcrate/stages/install/prune.txt").unlink()
    (template / "torchcrate/doctor.py").rename(template / "torchcrate/physician.py")
    (template / "torchcrate/stages/install/uv.sh").chmod(0o644)
    said = update(template, project)
    assert "Both sides" not in said and "Deleted here" not in said
    assert machinery(project, git(project, "write-tree")) == machinery(template, "HEAD")
    assert git(project, "diff", "--name-only") == ""
    assert git(project, "ls-files", "--others", "--exclude-standard") == ""


def edit_the_machinery(project):
    """Edit torchcrate/ in each way that there is, and return what of it is edited."""
    append(project, "torchcrate/host.py", "\n# Mine.\n")
    (project / "torchcrate/mine.py").write_text('"""Mine."""\n')
    git(project, "rm", "--quiet", "torchcrate/stages/install/sources.sh")
    (project / "torchcrate/stages/install/uv.sh").chmod(0o644)
    commit(project)
    return [
        "torchcrate/host.py",
        "torchcrate/mine.py",
        "torchcrate/stages/install/sources.sh",
        "torchcrate/stages/install/uv.sh",
    ]


def test_an_edited_machinery_is_refused(folders):
    template, project = folders
    append(template, "Dockerfile", "# Newer.\n")
    commit(template)
    edited = edit_the_machinery(project)
    said = refused(template, project)
    assert f"yours was edited: take what you need of {', '.join(edited)} elsewhere" in said
    assert "--replace" in said


def test_an_edited_machinery_is_replaced_if_told(folders):
    """Also where both sides changed the same lines, and where it has what was deleted here."""
    template, project = folders
    edit_the_machinery(project)
    append(template, "torchcrate/host.py", "\n# Theirs.\n")
    (template / "torchcrate/mine.py").write_text('"""Theirs."""\n')
    (template / "torchcrate/stages/install/newer.sh").write_text("# Theirs.\n")
    append(template, "Dockerfile", "# Newer.\n")
    said = update(template, project, "--replace")
    assert "Both sides" not in said and "Deleted here" not in said
    assert machinery(project, git(project, "write-tree")) == machinery(template, "HEAD")
    assert git(project, "diff", "--name-only") == ""
    assert "# Newer." in (project / "Dockerfile").read_text()
    commit(project)
    append(template, "torchcrate/host.py", "# Again.\n")
    update(template, project)  # edited no more
    assert machinery(project, git(project, "write-tree")) == machinery(template, "HEAD")


def test_only_the_same_lines_conflict(folders):
    template, project = folders
    for folder, who in ((template, "Theirs"), (project, "Mine")):
        edit(folder, "docker-bake.hcl", 'WHEELS" { default = null', f'WHEELS" {{ default = "{who}"')
    edit(template, "docker-bake.hcl", 'group "default"', '# Newer.\ngroup "default"')
    append(template, "locks/uv.in", "# newer\n")
    append(template, "torchcrate/host.py", "# newer\n")
    append(project, "Dockerfile", "# Mine.\n")
    said = update(template, project, code=1)
    assert "Both sides changed the same lines of docker-bake.hcl:" in said
    assert "git reset --hard" in said
    assert git(project, "diff", "--name-only", "--diff-filter=U") == "docker-bake.hcl"
    text = (project / "docker-bake.hcl").read_text()
    mine, theirs = (f'variable "WHEELS" {{ default = "{who}" }}' for who in ("Mine", "Theirs"))
    assert f"\n<<<<<<< HEAD\n{mine}\n=======\n{theirs}\n>>>>>>> " in text
    assert text.count("<<<<<<<") == 1
    assert '# Newer.\ngroup "default"' in text
    assert (project / "locks/uv.in").read_text().endswith("# newer\n")
    assert (project / "torchcrate/host.py").read_text().endswith("# newer\n")
    git(project, "reset", "--quiet", "--hard")
    assert git(project, "status", "--porcelain") == ""


def test_a_deleted_sample_stays_deleted(folders):
    """So do its new tests, also where the project has tests of its own in their place."""
    template, project = folders
    edit(template, f"src/{OLD_PACKAGE}/data.py", "CLASSES = 10", "CLASSES = 11")
    edit(template, "tests/test_data.py", "import pytest", "import pytest  # newer")
    (template / "tests/test_new.py").write_text(f"import {OLD_PACKAGE}  # noqa: F401\n")
    git(project, "rm", "-r", "--quiet", *SAMPLE, f"src/{PACKAGE}/data.py")
    (project / "tests/test_mine.py").write_text("# Mine.\n")
    said = update(template, project)
    for name in (f"src/{PACKAGE}/data.py", "tests/test_data.py", "tests/test_new.py"):
        assert name in said
        assert not (project / name).exists()
    assert git(project, "status", "--porcelain") == "M  .template.toml"


def test_a_sample_that_is_still_there_is_updated(folders):
    template, project = folders
    edit(template, f"src/{OLD_PACKAGE}/data.py", "CLASSES = 10", "CLASSES = 11")
    (template / "tests/test_new.py").write_text(f"import {OLD_PACKAGE}  # noqa: F401\n")
    update(template, project)
    assert "CLASSES = 11" in (project / f"src/{PACKAGE}/data.py").read_text()
    assert f"import {PACKAGE}" in (project / "tests/test_new.py").read_text()


def test_what_the_template_deleted_and_the_project_changed_stays(folders):
    template, project = folders
    (template / "docs/ci.md").unlink()
    append(project, "docs/ci.md", "\nMine.\n")
    said = update(template, project)
    assert "kept, though the template deleted it: docs/ci.md." in said
    assert (project / "docs/ci.md").read_text().endswith("\nMine.\n")
    assert git(project, "status", "--porcelain") == "M  .template.toml"


def test_locks_that_both_changed_are_made_again(folders):
    """They are the project's, without a mixture of two locks, and `./crate lock` is to follow."""
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
    assert "Next: `./crate lock`, `./crate check --write`, `./crate test`" in said
    assert (project / "poetry.lock").read_bytes() == mine
    assert "ARG TORCH_BUILD=mine" in (project / "Dockerfile.cpu").read_text()
    assert not (project / "locks/torch.cu130.txt").exists()
    assert git(project, "status", "--porcelain") == "M  .template.toml"


def test_a_lock_that_only_the_template_changed_is_taken(folders):
    template, project = folders
    edit(template, "poetry.lock", 'lock-version = "2.1"', 'lock-version = "2.1" # theirs')
    append(project, "README.md", "\nMine.\n")
    assert "./crate lock" not in update(template, project)
    assert "# theirs" in (project / "poetry.lock").read_text()


def test_dependencies_of_both_sides_want_a_lock(folders):
    template, project = folders
    edit(template, "pyproject.toml", '    "tqdm ', '    "six (==1.17)",\n    "tqdm ')
    edit(project, "pyproject.toml", "# Yours, in", "# Mine, in")
    assert "Next: `./crate lock`, `./crate test`" in update(template, project)
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
    assert crate(project, "init", name="mine").returncode == 0
    edit(template, "Dockerfile", "# ---- base:", "# Newer.\n# ---- base:")
    update(template, project)
    assert "# Newer." in (project / "Dockerfile").read_text()
    assert 'CMD ["python", "-m", "mine"]' in (project / "Dockerfile").read_text()


def test_at_a_tag(folders):
    template, project = folders
    for number in ("1", "2"):
        append(template, "Dockerfile", f"# Newer {number}.\n")
        commit(template)
        git(template, "tag", f"v{number}")
    git(template, "checkout", "--quiet", "v1")
    update(template, project)
    assert "# Newer 1.\n" in (project / "Dockerfile").read_text()
    assert "# Newer 2.\n" not in (project / "Dockerfile").read_text()


def test_from_a_clone_without_history(folders):
    template, project = folders
    append(template, "Dockerfile", "# Newer.\n")
    commit(template)
    shallow = template.parent / "shallow"
    git(template, "clone", "--quiet", "--depth=1", f"file://{template}", str(shallow))
    share_tools(shallow)
    assert "clone the template with its whole history" in refused(shallow, project)
    git(shallow, "fetch", "--quiet", "--unshallow")
    update(shallow, project)
    assert "# Newer." in (project / "Dockerfile").read_text()


@pytest.fixture
def adopted(folders, tmp_path):
    """Return the template, and a project that had the images from it by `./crate adopt`."""
    files = {"lib/words.py": "print(1)\n", "mine.md": "mine\n", ".dockerignore": ".git\n"}
    project = existing.write(tmp_path / "flat", existing.FLAT | files)
    words = ("--build=cu126", "--code=wordcount lib/words.py", "--command=python -m words")
    done = crate(folders[0], "adopt", *words, into=str(project))
    assert done.returncode == 0, done.stderr
    commit(project)
    return folders[0], project


def test_an_adopted_project(adopted):
    template, project = adopted
    edit(template, "Dockerfile", "# ---- base:", "# Newer.\n# ---- base:")
    append(template, "torchcrate/build.py", "# Newer.\n")
    (template / "torchcrate/doctor.py").unlink()
    (template / "tests/image/runtime/test_newer.py").touch()
    (template / "tests/image/runtime/test_slim.py").unlink()
    append(project, "apt/runtime.txt", "libmine1\n")
    edit(project, "Dockerfile", 'CMD ["bash"]', '# Mine.\nCMD ["bash"]')
    append(project, "mine.md", "more\n")
    told = update(template, project)
    assert "is merged, staged and not committed" in told
    dockerfile = (project / "Dockerfile").read_text()
    assert "# Newer.\n# ---- base:" in dockerfile and '# Mine.\nCMD ["bash"]' in dockerfile
    assert "ARG TORCH_BUILD=cu126\n" in dockerfile and 'CMD ["python", "-m", "words"]' in dockerfile
    assert (project / "apt/runtime.txt").read_text().endswith("libmine1\n")
    assert (project / "mine.md").read_text() == "mine\nmore\n"
    assert (project / ".dockerignore").read_text() == ".git\n"
    assert (project / "torchcrate/build.py").read_text().endswith("# Newer.\n")
    assert (project / "tests/image/runtime/test_newer.py").is_file()
    for name in ("torchcrate/doctor.py", "tests/image/runtime/test_slim.py"):
        assert not (project / name).exists()
    commit(project)
    assert "Nothing to do" in update(template, project)


def test_a_file_of_the_users_own(adopted):
    """A newer template does not overwrite a file of the same name that it did not have before."""
    template, project = adopted
    (template / "tests/image/runtime/test_newer.py").touch()
    commit(template)
    (project / "tests/image/runtime/test_newer.py").write_text("mine = 1\n")
    commit(project)
    said = refused(template, project)
    assert f"{project} has tests/image/runtime/test_newer.py already" in said
    assert "--replace" not in said


def test_an_adopted_project_as_git_may_hold_it(adopted, tmp_path, monkeypatch):
    """A shallow clone, ignored files, files in LFS, and no name in pyproject.toml."""
    template, project = adopted
    text = (project / "pyproject.toml").read_text()
    text = re.sub(r"(?m)^(name|version|description|authors|readme|packages) = .*\n", "", text)
    text = text.replace("[tool.poetry]", "[tool.poetry]\npackage-mode = false")
    (project / "pyproject.toml").write_text(text)
    (project / ".gitignore").write_text("stages\n" + (project / ".gitignore").read_text())
    (project / ".gitattributes").write_text("*.bin filter=lfs\n")
    (project / "a.bin").write_text("a pointer\n")
    commit(project)
    shallow = project.parent / "shallow"
    git(project, "clone", "--quiet", "--depth=1", f"file://{project}", str(shallow))
    append(template, "Dockerfile", "# Newer.\n")
    commit(template)
    lfs = '[filter "lfs"]\n\tclean = cat\n\tsmudge = false\n\trequired = true\n'
    (tmp_path / "gitconfig").write_text(GITCONFIG + lfs)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    done = crate(template, "update", into=str(shallow))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    changed = git(shallow, "diff", "--cached", "--name-only").splitlines()
    assert sorted(changed) == [".template.toml", "Dockerfile"]


def test_an_adopted_project_with_other_answers(adopted):
    template, project = adopted
    append(template, "Dockerfile", "# Newer.\n")
    commit(template)
    (project / "lib/words.py").unlink()
    commit(project)
    assert "its `adopt` of " in (said := refused(template, project))
    assert "--code names lib/words.py" in said


def test_refused(folders):
    template, project = folders
    append(template, "Dockerfile", "# Newer.\n")
    commit(template)
    before = snapshot(project)
    done = crate(template, "update")
    assert done.returncode == 2 and "required: --into" in done.stderr
    done = crate(template, "update", into="no/such")
    assert done.returncode == 1 and "no/such is no folder: name" in done.stderr
    assert snapshot(project) == before
    (project / "new").touch()
    assert "has changes that are not committed" in refused(template, project)
    (project / "new").unlink()
    (project / ".template.toml").write_text("no [toml")
    assert "names no tree" in refused(template, project)
    (project / ".template.toml").unlink()
    assert "has no .template.toml" in refused(template, project)


@pytest.mark.parametrize(
    "name, text, says",
    [
        ("crate", None, "has no ./crate."),
        ("template/init.py", None, "says: ModuleNotFoundError: No module named 'template.init'."),
        ("template/init.py", "raise SystemExit('ERROR: It is broken.')\n", "says: It is broken."),
    ],
    ids=["no command", "deleted", "broken"],
)
def test_a_template_that_cannot_be_rendered(folders, name, text, says):
    """The commit that the project was made from."""
    template, project = folders
    was = (template / name).read_text()
    (template / name).unlink()
    if text:
        (template / name).write_text(text)
    commit(template)
    tree = git(template, "rev-parse", "HEAD^{tree}")
    record = project / ".template.toml"
    record.write_text(re.sub(r'tree = ".*"', f'tree = "{tree}"', record.read_text()))
    commit(project)
    (template / name).write_text(was)
    commit(template)
    if name == "crate":
        (template / name).chmod(0o755)
        commit(template)
    assert says in refused(template, project)


def test_an_ignored_file_in_the_way(folders):
    """Git would overwrite it."""
    template, project = folders
    append(template, "Dockerfile", "# Newer.\n")
    (template / "mine.txt").write_text("theirs\n")
    commit(template)
    append(project, ".gitignore", "/mine.txt\n")
    commit(project)
    (project / "mine.txt").write_text("mine\n")
    assert "mine.txt, which git ignores here, is new" in refused(template, project)
    assert (project / "mine.txt").read_text() == "mine\n"
