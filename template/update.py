"""Merge this template into a project that an older one made, without losing what was changed there.

The project's .template.toml names the template's tree that it was made from. `./crate init` makes
the project again from that tree and from this repository's commit, with the same answers. (In a
project that adopted the images, `./crate adopt` does, beside the project's own files.) torchcrate/
is replaced, unless it was edited. For all other files the difference of the two is merged: lines
that both sides changed become a conflict. Nothing is committed, and no commit of the template gets
into the project's history.
"""

import os
import subprocess
import sys
import tempfile
import tomllib
from argparse import Namespace
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from template.init import RECORD, git_done
from torchcrate.host import TOP, fail, say
from torchcrate.tools import TOOLS

MACHINERY = "torchcrate"  # the folder that no project edits
# A command makes these from other files. They cannot be merged, only made again.
LOCKS = ("poetry.lock", "locks/*.txt")
MADE = ("Dockerfile.cpu", ".devcontainer/cpu/devcontainer.json")
# For temporary commits, the same for all users.
SETTINGS = (
    *("-c", "user.name=template", "-c", "user.email=template@localhost", "-c", "gc.auto=0"),
    *("-c", "commit.gpgSign=false", "-c", "rerere.enabled=false"),
    *("-c", "core.hooksPath=/dev/null", "-c", "merge.directoryRenames=true"),
)


class GitError(Exception):
    """A git command failed; the message is git's."""


def git(folder: Path, *arguments: str) -> str:
    """Return what git prints. Raises GitError with the last line of git's message."""
    done = git_done(folder, *SETTINGS, *arguments)
    if done.returncode:
        lines = ((done.stderr or done.stdout).strip() or "no reason given").splitlines()
        told = [line for line in lines if line.startswith(("fatal:", "error:"))]
        raise GitError((told or lines[-1:])[0].rstrip("."))
    return done.stdout.strip()


def listed(folder: Path, *arguments: str) -> list[str]:
    """Return the paths that a git command with -z prints."""
    return [path for path in git(folder, arguments[0], "-z", *arguments[1:]).split("\0") if path]


def recorded(top: Path) -> tuple[str, list[str]]:
    """Return the template's tree that a project was made from, and the files of `./crate adopt`.

    Ends the program without a tree.
    """
    if not (top / RECORD).is_file():
        fail(
            f"{top} has no {RECORD}, which `./crate init` and `./crate adopt` write: if it has the "
            "images from an older adopt, run `./crate adopt --into PROJECT --replace` once."
        )
    try:
        known = tomllib.loads((top / RECORD).read_text())
        tree, files = known["tree"], known.get("files", [])
        if not isinstance(files, list) or not all(isinstance(n, str) for n in (tree, *files)):
            raise ValueError
    except (ValueError, KeyError):
        fail(f"{RECORD} names no tree of the template: bring it back with `git log -p {RECORD}`.")
    return tree, files


def check_clean(top: Path) -> None:
    """End the program if a project has changes that are not committed."""
    try:
        git(top, "rev-parse", "--verify", "HEAD")
        own = git(top, "rev-parse", "--show-toplevel") == str(top)
        dirty = git(top, "status", "--porcelain", "--untracked-files")
    except GitError:
        own, dirty = True, "no commit"
    if not own:
        fail(f"{top} is a folder of a larger git repository: make it one of its own first.")
    if dirty:
        fail(
            f"{top} has changes that are not committed: run `git add --all && git commit` or "
            "`git stash --include-untracked` first."
        )


def project(bare: Path, commit: str, folder: Path, top: Path, files: list[str]) -> str:
    """Return the tree that a template's commit makes with the answers in a project's record.

    With ``files``, which `./crate adopt` wrote, that is the project without them, adopted anew.
    Raises GitError, also with the message of the template's command.
    """
    git(bare, "worktree", "add", "--quiet", "--detach", str(folder), commit)
    if not (folder / "crate").is_file():
        raise GitError(f"commit {commit[:12]} of the template has no ./crate")
    (folder / ".tools").symlink_to(TOOLS)  # where this very Python is
    command = [sys.executable, "-B", "crate", "init", f"--answers={top / RECORD}"]
    made = folder
    if files:
        made = folder.with_name(f"{folder.name}-project") / top.name  # adopt may name it so
        refs = "+HEAD:refs/made/project"
        git(bare, "fetch", "--quiet", "--no-tags", "--update-shallow", "--", str(top), refs)
        for key, value in (("smudge", ""), ("clean", ""), ("process", ""), ("required", "false")):
            git(bare, "config", f"filter.lfs.{key}", value)  # its pointers are enough
        git(bare, "worktree", "add", "--quiet", "--detach", str(made), "refs/made/project")
        git(made, "rm", "-r", "--quiet", "--ignore-unmatch", "--", *files)
        git(made, "commit", "--quiet", "--allow-empty", "--message", "Without the images")
        command[0] = str(TOOLS / "poetry/bin/python")
        command[3:4] = ["adopt", f"--into={made}"]
    more = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
    more["env"] = {name: value for name, value in os.environ.items() if name != "BUILD"}
    done = subprocess.run(command, cwd=folder, check=False, **more)
    if done.returncode:
        words = (done.stderr.strip() or "no reason given").splitlines()[-1]
        words = words.replace(str(made), str(top)).replace(
            ", or have it replaced with --replace", ""
        )
        raise GitError(f"its `{command[3]}` of {commit[:12]} says: {words.removeprefix('ERROR: ')}")
    git(made, "add", "--all", *(["--force"] if files else []))  # what is ignored there, too
    return git(made, "write-tree")


def fetch(tree: str, bare: Path) -> tuple[str, str]:
    """Fetch this template into a bare repository. Return its commits: with a tree, and the newest.

    Ends the program if it has no commit with the tree.
    """
    git(bare.parent, "init", "--quiet", "--bare", str(bare))
    (bare / "info").mkdir(exist_ok=True)
    (bare / "info/exclude").write_text("/.tools\n")  # a link, beside what a commit makes
    refs = ("+refs/*:refs/*", "+HEAD:refs/made/newest")
    git(bare, "fetch", "--quiet", "--update-shallow", "--", str(TOP), *refs)
    new = git(bare, "rev-parse", "refs/made/newest")
    commits = (line.split() for line in git(bare, "log", "--all", "--format=%H %T").splitlines())
    old = next((commit for commit, its in commits if its == tree), None)
    if not old:
        fail(
            f"{TOP} has no commit with the tree {tree}, which {RECORD} says the project was made "
            "from: clone the template with its whole history, or put in the tree of the commit "
            "that comes next to it, from what `git log --format='%T %h %s'` lists."
        )
    return old, new


def changed(top: Path, before: str, after: str, *options: str) -> set[str]:
    """Return the paths that differ between two commits of a project's repository."""
    paths = options[options.index("--") :] if "--" in options else ()
    options = options[: len(options) - len(paths)]
    return set(listed(top, "diff", "--name-only", "--no-renames", *options, before, after, *paths))


def kind(path: str) -> tuple[PurePosixPath, str]:
    """Return a file's kind: its folder and suffix."""
    return PurePosixPath(path).parent, PurePosixPath(path).suffix


def merge(top: Path, old: str, new: str) -> dict[str, list[str]]:
    """Merge the difference of two commits into the work tree and the index. Return what to report.

    That is, each with its paths: `conflicts`, with git's markers in them; `locks` and `made`, which
    both sides changed and which are the project's still; `deleted` in the project, or `kept` there,
    while the template has it changed, or no longer.
    """
    here = set(listed(top, "ls-tree", "-r", "--name-only", "HEAD"))
    added = changed(top, old, new, "--diff-filter=A") - here
    for path in sorted(added):
        if os.path.lexists(top / path):  # git overwrites files that it ignores
            raise GitError(
                f"{path}, which git ignores here, is new in the template: move yours away"
            )
    both = changed(top, old, new) & changed(top, old, "HEAD") & changed(top, new, "HEAD")
    try:
        git(top, "cherry-pick", "--no-commit", "--allow-empty", new)
    except GitError as error:
        if not listed(top, "ls-files", "--unmerged"):
            raise GitError(f"git cannot merge: {error}") from None
    git(top, "rm", "-r", "--quiet", "--force", "--ignore-unmatch", "--", MACHINERY)
    git(top, "checkout", "--quiet", new, "--", MACHINERY)
    stages: dict[str, set[str]] = {}
    for line in listed(top, "ls-files", "--unmerged"):
        facts, _, path = line.partition("\t")
        stages.setdefault(path, set()).add(facts.split()[2])
    tell: dict[str, list[str]] = {
        key: [] for key in ("conflicts", "locks", "made", "deleted", "kept")
    }
    for path in sorted(both | stages.keys()):
        lock = any(fnmatch(path, pattern) for pattern in LOCKS)
        if path == RECORD:
            git(top, "checkout", "--quiet", new, "--", path)
        elif path in here and (lock or (path in MADE and path in stages)):
            git(top, "checkout", "--quiet", "HEAD", "--", path)
            tell["locks" if lock else "made"].append(path)
        elif path not in stages:
            continue
        elif "2" not in stages[path]:
            git(top, "rm", "--quiet", "--force", "--", path)
            tell["deleted"].append(path)
        elif "3" not in stages[path]:
            git(top, "checkout", "--quiet", "HEAD", "--", path)
            tell["kept"].append(path)
        else:
            tell["conflicts"].append(path)
    tell["lock"] = sorted(both & {"pyproject.toml"}) + tell["locks"]
    # A new file whose kind was deleted here, such as the sample's tests.
    before = set(listed(top, "ls-tree", "-r", "--name-only", old))
    for path in sorted(p for p in added if not p.startswith(f"{MACHINERY}/")):
        beside = {p for p in before if kind(p) == kind(path)}
        if beside and not beside & here and listed(top, "ls-files", "--", path):
            git(top, "rm", "--quiet", "--force", "--", path)
            tell["deleted"].append(path)
    return tell


def update(top: Path, replace: bool) -> int:
    """Merge this template into a project. Return 1 if there are conflicts."""
    tree, files = recorded(top)
    check_clean(top)
    started = False
    try:
        with tempfile.TemporaryDirectory(prefix="template-") as temporary:
            bare = Path(temporary, "template.git")
            old, new = fetch(tree, bare)
            if git(bare, "rev-parse", f"{new}^{{tree}}") == tree:
                say(f"Nothing to do: the project was made from the template's {new[:12]}.")
                return 0
            trees = [
                project(bare, commit, Path(temporary, name).resolve(), top, files)
                for name, commit in (("old", old), ("new", new))
            ]
            one = git(bare, "commit-tree", trees[0], "-m", "The project as it was made")
            words = f"the template's {new[:12]}"  # next to the conflict markers
            two = git(bare, "commit-tree", trees[1], "-p", one, "-m", words)
            git(bare, "update-ref", "refs/made/new", two)
            # No reference here keeps the two commits: git forgets them in time.
            git(top, "fetch", "--quiet", "--no-write-fetch-head", "--no-tags", "--", str(bare), two)
        edited = changed(top, one, "HEAD", "--", MACHINERY)
        if edited and not replace:
            fail(
                f"{MACHINERY}/ is replaced whole, and yours was edited: take what you need of "
                f"{', '.join(sorted(edited))} elsewhere, then lose the edits with --replace."
            )
        started = True
        tell = merge(top, one, two)
    except GitError as error:
        take_back(top, started)
        fail(f"The project was not updated: {str(error).rstrip('.')}.")
    except BaseException:  # Ctrl-C
        take_back(top, started)
        raise
    say(f"The template's {old[:12]} … {new[:12]} is merged, staged and not committed.")
    return report(tell)


def take_back(top: Path, started: bool) -> None:
    """Undo a merge. The work tree was clean before it."""
    if started:
        git(top, "reset", "--quiet", "--hard")


def report(tell: dict[str, list[str]]) -> int:
    """Print what to do after a merge. Return 1 if there are conflicts, else 0."""
    if tell["deleted"]:
        say(f"Deleted here, and left so, though the template has it: {', '.join(tell['deleted'])}.")
    if tell["kept"]:
        say(f"Changed here, and kept, though the template deleted it: {', '.join(tell['kept'])}.")
    mending = ["./crate lock"] if tell["lock"] else []
    mending += ["./crate check --write"] if tell["made"] else []
    if tell["locks"] or tell["made"]:
        say(f"Changed on both sides, and yours still: {', '.join(tell['locks'] + tell['made'])}.")
    commands = ", ".join(f"`{c}`" for c in [*mending, "./crate test", "git commit --all"])
    if tell["conflicts"]:
        say(
            f"Both sides changed the same lines of {', '.join(tell['conflicts'])}: edit what is "
            f"between the marks <<<<<<< and >>>>>>>, and `git add` it."
        )
    say(f"Next: {commands}. Or take it all back: `git reset --hard`.")
    return bool(tell["conflicts"])


def main(options: Namespace) -> int:
    """Run the command; see the top of this file."""
    top = Path(options.into).resolve()
    if not top.is_dir():
        fail(f"{top} is no folder: name the project's with --into.")
    try:
        return update(top, options.replace)
    except KeyboardInterrupt:
        sys.exit("\nERROR: It was stopped before it was done: the project is as it was.")
