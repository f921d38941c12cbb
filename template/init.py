"""Make the template your project: name, package, description, author, image, README, licence.

It works in this repository, or in a new folder with --into. In a terminal it asks, unless you give
the name; then it takes the suggested answer for what you leave out. It writes everything or
nothing and commits nothing. .template.toml records the template's git tree for `./crate update`.
"""

import datetime
import keyword
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
import tomllib
from argparse import Namespace
from collections.abc import Callable, Iterable
from pathlib import Path

import tomlkit

from torchcrate import VERSION
from torchcrate.host import TOP, fail
from torchcrate.tools import TOOLS

RECORD = ".template.toml"
# Only for the template: a project does not need them.
TEMPLATE_ONLY = (".ci/", "template/")
# The same in every project, byte for byte, so that `./crate update` can see whether it was edited.
MACHINERY = "torchcrate/"
# A project does not need the text between these lines either.
ABOUT_TEMPLATE = re.compile(
    r"^[# ]*<!-- template -->\n.*?^[# ]*<!-- /template -->\n+", re.DOTALL | re.MULTILINE
)
# A longer package name would make lines of the template's code too long.
LONGEST = 40
# Names that a package would hide, besides the standard library and packages of poetry.lock: this
# repository's folders, and modules whose name differs from their package's.
TAKEN = {
    *("apt", "docs", "locks", "packages", "src", "template", "tests", "torchcrate"),
    *("dateutil", "functorch", "mpl_toolkits", "pylab", "testinfra", "torchgen", "yaml"),
}
# An author's address. Poetry wants a dot in the host's name.
ADDRESS = r"[A-Za-z0-9_%+'-]+(\.[A-Za-z0-9_%+'-]+)*@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+"
QUESTIONS = {
    "name": "Name of the project",
    "package": "Python package",
    "description": "Description, in one line",
    "author": "Author, with or without <address>",
    "image": "Name of the images",
    "repository": "GitHub repository (owner/name, - for none)",
}

Answers = dict[str, str]  # the keys of QUESTIONS, and the year of the licence
Files = dict[str, bytes]  # by path


class InitError(Exception):
    """The template cannot become a project; the message is one sentence."""


def quoted(text: str) -> str:
    """Return a user's text, quoted for a message: on one line, and cut after 60 letters."""
    return repr(text if len(text) <= 60 else f"{text[:60]}…")


def normalize(name: str) -> str:
    """Return a package name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


# ---- Checking answers ----
# Each function raises InitError for a bad answer. `old` has the template's own name and package,
# `locked` the names in poetry.lock.


def check_name(name: str, old: set[str], locked: set[str]) -> None:
    """Check that an index would accept the name, and that no dependency has it."""
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", name) or len(name) > 100:
        raise InitError(
            f"{quoted(name)} is not a valid project name: use up to 100 ASCII letters, digits, and "
            "between them - _ or . (--name my-project)."
        )
    if normalize(name) in old:
        raise InitError(f"{name} is the template's own name: choose another (--name my-project).")
    if normalize(name) in locked:
        raise InitError(
            f"{name} is a package that the project depends on: choose another (--name my-project)."
        )


def check_package(package: str, old: set[str], locked: set[str]) -> None:
    """Check that Python can import the package, and that it hides no other."""
    choose = "choose another with --package my_project"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", package) or keyword.iskeyword(package):
        raise InitError(
            f"{quoted(package)} is not a valid package name: use small ASCII letters, digits and "
            f"_, begin with a letter, and avoid Python's keywords; {choose}."
        )
    if len(package) > LONGEST:
        raise InitError(
            f"The package {quoted(package)} has {len(package)} letters, and at most {LONGEST} are "
            f"allowed: {choose}."
        )
    if package in sys.stdlib_module_names or package in TAKEN or normalize(package) in locked:
        raise InitError(f"A package {package} would hide another with that name: {choose}.")
    if normalize(package) in old:
        raise InitError(f"{package} is the template's own name: {choose}.")


def check_description(description: str) -> None:
    """Check that the description is one line of text."""
    if not description.strip() or not description.isprintable() or len(description) > 500:
        raise InitError(
            f"The description {quoted(description)} is not one line of up to 500 letters: give "
            "--description 'What it is'."
        )


def check_author(author: str) -> None:
    """Check that the author is a name, or a name and an address, as pyproject.toml allows."""
    name, email = split_author(author)
    fits = re.fullmatch(r"[^<>,@\"\\]+", name) and name.isprintable() and len(author) <= 200
    if not fits or not (email is None or re.fullmatch(ADDRESS, email)):
        raise InitError(
            f"{quoted(author)} is not a valid author: give a name without commas, and an address "
            "after it if you like (--author 'Me <me@example.com>')."
        )


def split_author(author: str) -> tuple[str, str | None]:
    """Return an author's name, and the address or None."""
    name, bracket, rest = author.strip().partition("<")
    return name.strip(), rest.removesuffix(">").strip() if bracket else None


def check_image(image: str) -> None:
    """Check an image name: it may begin with a registry, but must not end with a tag."""
    part = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
    fits = re.fullmatch(rf"(?:[a-z0-9][a-z0-9.-]*(?::[0-9]+)?/)?{part}(?:/{part})*", image)
    if not fits or len(image) > 200 or image == "scratch" or re.fullmatch("[0-9a-f]{64}", image):
        raise InitError(
            f"{quoted(image)} is not a valid image name: use small letters, digits, and between "
            "them - _ or . (--image my-project or --image ghcr.io/me/my-project)."
        )


def check_repository(repository: str) -> None:
    """Check that it is GitHub's owner/name, or empty."""
    owner_name = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,37}[A-Za-z0-9])?/(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}"
    if repository and not re.fullmatch(owner_name, repository):
        raise InitError(
            f"{quoted(repository)} is not a GitHub repository: give --repository owner/name."
        )


def checks(files: Files) -> dict[str, Callable[[str], None]]:
    """Return for each question a function that raises InitError for a bad answer."""
    old = {normalize(name) for name in names(files)}
    lock = tomllib.loads(files.get("poetry.lock", b"").decode())
    locked = {normalize(package["name"]) for package in lock.get("package", [])}
    return {
        "name": lambda answer: check_name(answer, old, locked),
        "package": lambda answer: check_package(answer, old, locked),
        "description": check_description,
        "author": check_author,
        "image": check_image,
        "repository": check_repository,
    }


def suggestions(name: str, folder: Path) -> Answers:
    """Return suggested answers, "" if unknown: all but the name, or without a name only that."""
    if not name:
        return {"name": re.sub(r"[^A-Za-z0-9]+", "-", folder.name).strip("-")}
    person, email = git(folder, "config", "user.name"), git(folder, "config", "user.email")
    origin = git(folder, "remote", "get-url", "origin")
    github = re.search(r"(?:^|[/@.])github\.com[:/]([^/]+/[^/]+?)(?:\.git)?/?$", origin)
    return {
        "package": re.sub(r"[-_.]+", "_", name).lower(),
        "description": f"{name}, a PyTorch project in a Docker image",
        "author": f"{person} <{email}>" if re.fullmatch(ADDRESS, email) else person,
        "image": normalize(name),
        "repository": github.group(1) if github else "",
    }


def complete(given: Answers, files: Files, folder: Path, ask: bool) -> Answers:
    """Return all answers: those given, and for the rest the user's (`ask`) or the suggested ones.

    Raises InitError for a bad answer, and if the name or the author is missing.
    """
    check = checks(files)
    old = {normalize(name) for name in names(files)}
    answers: Answers = {}
    for key, question in QUESTIONS.items():
        answer = given.get(key)
        suggested = suggestions(answers.get("name", ""), folder)[key] if answer is None else ""
        if key == "repository" and normalize(suggested.partition("/")[2]) in old:
            suggested = ""  # a clone of the template
        if ask or key in ("author", "repository"):  # git's settings may have anything
            try:
                check[key](suggested)
            except InitError:
                suggested = ""
        if answer is None and ask:
            answer = ask_for(
                question, suggested or ("-" if key == "repository" else ""), check[key]
            )
        elif answer is None:
            answer = "" if key == "name" else suggested
            if not answer and key in ("name", "author"):
                example = {"name": "my-project", "author": "'Me <me@example.com>'"}[key]
                raise InitError(f"The {key} is missing: add --{key} {example}.")
        check[key](answer)
        answers[key] = answer.strip()
    return answers | {"year": given.get("year") or str(datetime.date.today().year)}


def ask_for(question: str, suggested: str, check: Callable[[str], None]) -> str:
    """Ask a question until the answer is good, and return it."""
    while True:
        answer = input(f"{question} [{suggested}]: " if suggested else f"{question}: ").strip()
        answer = answer or suggested
        answer = "" if answer == "-" else answer
        try:
            check(answer)
            return answer
        except InitError as error:
            print(error)


# ---- Making the project's files ----


def names(files: Files) -> tuple[str, str]:
    """Return the template's own name and package. Raises InitError if this is not a template."""
    try:
        project = tomllib.loads(files["pyproject.toml"].decode())
        return project["project"]["name"], project["tool"]["poetry"]["packages"][0]["include"]
    except (KeyError, IndexError, TypeError, ValueError):
        raise InitError(
            "There is no template here: its pyproject.toml must name a project and a package."
        ) from None


def render(files: Files, answers: Answers) -> Files:
    """Return the project's files, made from the template's. Call `tidy` on them afterwards."""
    _, old_package = names(files)
    rendered: Files = {}
    for path, content in files.items():
        if path.startswith(TEMPLATE_ONLY):
            continue
        try:
            text = content.decode()
        except UnicodeDecodeError:
            text = "\0"
        new_path = path.replace(f"src/{old_package}/", f"src/{answers['package']}/", 1)
        if path.startswith(MACHINERY) or "\0" in text:  # binary
            rendered[new_path] = content
            continue
        text = ABOUT_TEMPLATE.sub("", text)
        text = rename(text, old_package, answers["package"])
        if path in SPECIAL:
            text = SPECIAL[path](text, answers)
        rendered[new_path] = text.encode()
    return rendered


def rename(text: str, old: str, new: str) -> str:
    """Return a text with the package renamed in imports, commands and paths.

    Elsewhere the word may mean something else: the sample's package is `digits`.
    """
    before = r"(src/|\bfrom |\bimport |-m[\s\"',]+|\binclude = \"|\bprog=\")"
    return re.sub(rf"{before}{re.escape(old)}\b", rf"\g<1>{new}", text)


def pyproject(text: str, answers: Answers) -> str:
    """Return pyproject.toml with the answers; the first version is 0.1.0."""
    text = text.replace(
        "{tests,template/tests,template/*_contract}", "tests"
    )  # where ruff ignores some rules
    document = tomlkit.parse(text)
    project, (person, email) = document["project"], split_author(answers["author"])
    project["name"], project["version"] = answers["name"], "0.1.0"
    project["description"] = answers["description"]
    author = tomlkit.inline_table()
    author.update({"name": person} | ({"email": email} if email else {}))
    authors = tomlkit.array()
    authors.append(author)
    project["authors"] = authors
    document["tool"]["poetry"]["packages"][0]["include"] = answers["package"]
    return tomlkit.dumps(document)


def readme(text: str, answers: Answers) -> str:
    """Return README.md with the title, the badge and the description of the project."""
    badge = ""
    if answers["repository"]:
        workflow = f"https://github.com/{answers['repository']}/actions/workflows/ci.yml"
        badge = f"[![ci]({workflow}/badge.svg)]({workflow})\n\n"
    described = textwrap.fill(
        answers["description"], 100, break_long_words=False, break_on_hyphens=False
    )
    head = f"# {answers['name']}\n\n{badge}{described}\n"
    # The title, badges if there are any, and the first paragraph.
    return re.sub(r"\A# .*\n\n(?:\[!\[.*\n+)*(?:.+\n)+", lambda _: head, text)


def licence(text: str, answers: Answers) -> str:
    """Return LICENSE with the author as the holder."""
    holder = f"Copyright (c) {answers['year']} {split_author(answers['author'])[0]}"
    return re.sub(r"^Copyright \(c\) .*$", lambda _: holder, text, count=1, flags=re.M)


def bake(text: str, answers: Answers) -> str:
    """Return docker-bake.hcl with the name of the images."""
    line = f'variable "IMAGE" {{ default = "{answers["image"]}" }}'
    return re.sub(r'^variable "IMAGE" .*$', lambda _: line, text, count=1, flags=re.M)


def renovate(text: str, _answers: Answers) -> str:
    """Return renovate.json without the template's own paths."""
    text = re.sub(r'^  "ignorePaths": \[[^\]]*\],\n', "", text, flags=re.M)
    return re.sub(r', "[^"]*\btemplate/[^"]*"', "", text)


SPECIAL = {
    ".github/renovate.json": renovate,
    "pyproject.toml": pyproject,
    "README.md": readme,
    "LICENSE": licence,
    "docker-bake.hcl": bake,
}


def record(answers: Answers, tree: str, files: Iterable[str] = ()) -> str:
    """Return the text of .template.toml. `files` are those that `./crate adopt` wrote."""
    document = tomlkit.document()
    document.add(
        tomlkit.comment(
            "What this project was made from. The template's `./crate update` needs it."
        )
    )
    document["version"] = VERSION
    document["tree"] = tree
    if files:
        document["files"] = tomlkit.array(str(sorted(files))).multiline(True)
    document["answers"] = answers
    return tomlkit.dumps(document)


def read_answers(file: Path) -> Answers:
    """Return the answers in a .template.toml. Raises InitError if it has none."""
    try:
        answers = tomllib.loads(file.read_text())["answers"]
        return {key: str(value) for key, value in answers.items()}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise InitError(f"{file} has no answers ({quoted(str(error))}).") from None


def tidy(before: Files, after: Files) -> Files:
    """Return the files, with changed Python files sorted and formatted by ruff."""
    known = set(before.values())
    with tempfile.TemporaryDirectory() as folder:
        for path, content in after.items():  # all: ruff sorts imports by which modules exist
            if path.endswith((".py", "pyproject.toml")):
                Path(folder, path).parent.mkdir(parents=True, exist_ok=True)
                Path(folder, path).write_bytes(content)
        changed = [p for p, content in after.items() if p.endswith(".py") and content not in known]
        for command in (["check", "--fix", "--select=I"], ["format"]) if changed else ():
            run = [sys.executable, "-m", "ruff", *command, "--quiet", "--no-cache", *changed]
            done = subprocess.run(run, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                raise InitError(f"ruff failed: {quoted((done.stdout + done.stderr).strip())}.")
        return after | {path: Path(folder, path).read_bytes() for path in changed}


# ---- Reading and writing a repository ----


def git_done(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Return how git ended. Ends the program if git is not there, or does not trust the folder."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        how = {"capture_output": True, "text": True, "errors": "surrogateescape"}
        done = subprocess.run(command, check=False, **how)
    except FileNotFoundError:
        fail("git is not installed: install it (Debian and Ubuntu: apt-get install git).")
    if done.returncode and "dubious ownership" in done.stderr:
        found = re.search(r"repository at '(.+?)'", done.stderr)
        top = found[1] if found else str(folder.resolve())
        safe = f"`git config --global --add safe.directory {shlex.quote(top)}`"
        fail(f"git reads nothing in {top}, which belongs to another user: run {safe}.")
    return done


def git(folder: Path, *arguments: str) -> str:
    """Return git's output, or "" if git fails."""
    done = git_done(folder, *arguments)
    return done.stdout.strip() if done.returncode == 0 else ""


def git_must(folder: Path, *arguments: str) -> str:
    """Return git's output. Raises InitError with git's last line if it fails."""
    done = git_done(folder, *arguments)
    if done.returncode:
        words = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise InitError(f"`git {arguments[0]}` failed in {folder}: {words.rstrip('.')}.")
    return done.stdout


def tree_to_take(folder: Path) -> str:
    """Return the id of the committed tree. Raises InitError if anything is not committed."""
    if (folder / RECORD).exists():
        raise InitError(
            f"{folder} is a project already, because it has {RECORD}: for a newer template run "
            f"`./crate update --into {folder}` in a clone of it."
        )
    if not (folder / "pyproject.toml").is_file():
        names({})  # says so
    if git(folder, "rev-parse", "--show-toplevel") != str(folder):
        raise InitError(
            f"{folder} is not a git repository: run `git init && git add --all && git commit "
            "--message 'Take the template'` first."
        )
    tree = git(folder, "rev-parse", "--verify", "HEAD^{tree}")
    if not tree or git_must(folder, "status", "--porcelain", "--untracked-files"):
        raise InitError(
            f"{folder} has changes that are not committed: run `git add --all && git commit` or "
            "`git stash --include-untracked` first."
        )
    return tree


def tracked(folder: Path) -> Files:
    """Return the contents of the regular files that git tracks."""
    listed = git_must(folder, "ls-files", "-z").split("\0")
    return {
        name: (folder / name).read_bytes()
        for name in filter(None, listed)
        if (folder / name).is_file() and not (folder / name).is_symlink()
    }


def write(folder: Path, before: Files, after: Files, old: str, new: str) -> None:
    """Replace the template's files with the project's and stage them, or change nothing."""
    source, target = folder / "src" / old, folder / "src" / new
    if source != target and target.exists():
        raise InitError(f"{target} exists already: choose another package with --package ….")
    try:
        source.rename(target)  # with the files in it that git ignores
        for path in before.keys() - after.keys():
            (folder / path).unlink(missing_ok=True)
        for path, content in after.items():
            file = folder / path
            if not file.exists() or file.read_bytes() != content:
                file.write_bytes(content)
        for name in TEMPLATE_ONLY:  # from commands that ran, such as this one
            for bytecode in [*(folder / name).rglob("__pycache__")]:
                shutil.rmtree(bytecode)
        gone = {parent for path in before.keys() - after.keys() for parent in Path(path).parents}
        for path in sorted(gone, key=lambda parent: -len(parent.parts)):
            if (folder / path).is_dir() and not any((folder / path).iterdir()):
                (folder / path).rmdir()
        git_must(folder, "add", "--all")
    except BaseException:  # Ctrl-C too
        if target.exists():
            target.rename(source)
        for path in after.keys() - before.keys():
            (folder / path).unlink(missing_ok=True)
        git(folder, "reset", "--quiet", "--hard")  # everything was committed
        raise


def initialise(folder: Path, given: Answers, ask: bool) -> Answers:
    """Turn the template in a folder into a project, and return the answers."""
    tree = tree_to_take(folder)
    before = tracked(folder)
    answers = complete(given, before, folder, ask)
    after = tidy(before, render(before, answers))
    after[RECORD] = record(answers, tree).encode()
    write(folder, before, after, names(before)[1], answers["package"])
    return answers


def generate(into: Path, arguments: list[str]) -> int:
    """Make a project in a new folder from the template's last commit; return the exit code.

    The folder is a new git repository, without the template's history. Everything is staged and
    nothing committed.
    """
    if into.exists() or into.is_symlink():
        raise InitError(f"{into} exists already: name a folder that does not.")
    into = into.resolve()
    if not into.parent.is_dir():
        raise InitError(f"There is no folder {into.parent} for {into.name}: create it first.")
    with tempfile.TemporaryDirectory(prefix=".init-", dir=into.parent) as folder:
        work = Path(folder) / into.name  # its name becomes the suggested name
        work.mkdir()
        git_must(work, "init", "--quiet")
        (work / ".git/info").mkdir(exist_ok=True)
        (work / ".git/info/exclude").write_text("/.tools\n")  # a link
        git_must(work, "fetch", "--quiet", "--depth=1", "--no-tags", "--", str(TOP), "HEAD")
        git_must(work, "checkout", "--quiet", "--detach", "FETCH_HEAD")
        (work / ".tools").symlink_to(TOOLS)  # this Python is in there
        command = [sys.executable, "-B", "crate", "init", *arguments]  # -B: no bytecode
        done = subprocess.run(command, cwd=work, check=False)
        (work / ".tools").unlink()
        if done.returncode:
            return done.returncode
        shutil.rmtree(work / ".git")
        git_must(work, "init", "--quiet", "--initial-branch=main")  # CI's workflow runs on main
        git_must(work, "add", "--all")
        work.rename(into)
    return 0


NEXT = """\
This is now {name}: the package is src/{package}, the images are {image}:….
Everything is staged, nothing is committed. Next:
  make run                  builds the image and trains the sample in it
  ./crate lint              runs the checks that CI runs first
  git commit --message 'Start {name}'
Replace the sample in src/{package} with your own code, and delete the sample's tests:
  git rm 'tests/test_*.py' 'tests/image/*/test_sample*.py'"""


def main(options: Namespace) -> int:
    """Run `./crate init`."""
    given = {key: value for key in QUESTIONS if (value := getattr(options, key)) is not None}
    try:
        if options.into:
            tree_to_take(TOP)
            flags = [f"--{key}={value}" for key, value in given.items()]
            flags += [f"--answers={Path(options.answers).resolve()}"] if options.answers else []
            into = Path(options.into)
            code = generate(into, flags)
            said = f"The project is in {into.resolve()}: begin with `cd {shlex.quote(str(into))}`."
        else:
            if options.answers:
                given = read_answers(Path(options.answers)) | given
            answers = initialise(TOP, given, ask=sys.stdin.isatty() and "name" not in given)
            code, said = 0, NEXT.format(**answers)
    except InitError as error:
        sys.exit(f"ERROR: {error}")
    except (EOFError, KeyboardInterrupt):
        sys.exit("\nERROR: Stopped before the end: nothing was written.")
    except OSError as error:
        sys.exit(f"ERROR: Nothing was written: {error}.")
    if not code:
        print(said)
    return code
