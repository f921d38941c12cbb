"""The tiers of the template's tests: CONTRIBUTING.md says what each is for."""

import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from argparse import Namespace
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, TypeVar

import tomlkit

from template import cache
from template.engine import prepare
from torchcrate import build, engine
from torchcrate import test as of_project
from torchcrate.host import TOP, fail, say
from torchcrate.stages.locks.split_locks import ROOTS

REPORTS = TOP / "reports"
T = TypeVar("T")


def tests(tier: str, *arguments: str) -> int:
    """Run tests of the template. It is no failure if no test matches, such as with -k."""
    config = ("-c", "template/tests/pytest.ini")
    code = of_project.pytest(REPORTS / tier, *config, "template/tests", *arguments)
    return 0 if code == 5 else code


def test(options: Namespace) -> int:
    """Run the unit tests, and test the real GPU and CPU images, at the same time."""
    if options.build:
        prepare()
        return of_project.main(options)
    with ThreadPoolExecutor(2) as pool, tempfile.TemporaryDirectory(prefix="cpu-") as folder:
        images = pool.submit(logged, "gpu", of_project.images, build.default_gpu_build())
        project = Path(folder) / "project"
        cpu = pool.submit(logged, "cpu", hold_cpu, project, images, options.words)
        code = tests("unit", "-m", "unit", *options.words)
        options.build, options.words = build.default_gpu_build(), of_real(options.words)
        images.result()
        prepare()
        code = of_project.main(options) or code
        return cpu.result() or code


def of_real(words: list[str]) -> list[str]:
    """Return pytest's arguments for the tests of real images, the template's own included."""
    return [*words, "tests/image", "template/real_contract"]


def logged(name: str, work: Callable[..., T], *arguments: object, **more: object) -> T:
    """Call a function with a log file to write to, and return its result."""
    REPORTS.mkdir(exist_ok=True)
    with (REPORTS / f"{name}.log").open("w") as log:
        return work(*arguments, log=log, **more)


def hold_cpu(project: Path, after: Future, words: list[str], log: IO) -> int:
    """Build the CPU image after the future `after`, test it, and return pytest's exit code.

    If PyTorch's index does not answer, the image is of a project without torchvision that is locked
    from a folder of wheels. Users without internet work like this.
    """
    more = {}
    if build.torch_index_answers("cpu"):
        project = TOP
    else:
        more = {"WHEELS": str(wheels()), "IMAGE": f"image-test-{uuid.uuid4().hex[:12]}"}
        without_torchvision(project)
        if crate(project, "lock", "--build=cpu", log=log, **more):
            fail(f"the CPU image could not be locked: see {log.name}.")
    after.result()
    prepare()
    environment = dict(os.environ)
    before = cache.cached(environment)
    of_project.images("cpu", project, log, **more)
    made = cache.cached(environment) - before
    try:
        code = crate(project, "test", "--build=cpu", "--second", *words, log=log, **more)
    finally:
        if project != TOP:
            for tag in ("cpu", "cpu-dev"):
                engine.quiet(["docker", "image", "rm", f"{more['IMAGE']}:{tag}"], environment)
            cache.uncache(environment, made)
            shutil.copytree(project / "reports/cpu", REPORTS / "cpu", dirs_exist_ok=True)
    lines = Path(log.name).read_text(errors="replace").splitlines()
    say("\n".join([f"The CPU image: {log.name}", *(lines if code else lines[-1:])]))
    return code


def crate(project: Path, *arguments: str, log: IO, **more: str) -> int:
    """Run a project's ./crate with its output in a log, and return its exit code."""
    command = [sys.executable, project / "crate", *arguments]
    how = {"cwd": project, "env": {**os.environ, **more}, "stdout": log, "stderr": log}
    return subprocess.run(command, check=False, **how).returncode


def find_wheels() -> Path | None:
    """Return the folder with a CPU wheel of torch, from WHEELS or pip's find-links."""
    names = [os.environ.get("WHEELS", ""), *os.environ.get("PIP_FIND_LINKS", "").split()]
    for folder in map(Path, filter(None, names)):
        if any(folder.glob("torch-*+cpu-cp311-*.whl")):
            return folder.resolve()
    return None


def wheels() -> Path:
    """Return `find_wheels()`, or end the program if there is none."""
    return find_wheels() or fail(
        "PyTorch's index does not answer, and no folder has a wheel of torch+cpu: name one with "
        "`./crate test --wheels FOLDER`."
    )


def without_torchvision(folder: Path) -> None:
    """Copy the repository with `copy`, and remove torch's sisters from pyproject.toml."""
    copy(folder)
    file = folder / "pyproject.toml"
    document = tomlkit.parse(file.read_text())
    needs = document["project"]["dependencies"]
    for need in [need for need in needs if need.startswith(ROOTS[1:])]:
        needs.remove(need)
    file.write_text(tomlkit.dumps(document))


def copy_files(folder: Path, *options: str) -> None:
    """Copy the files that `git ls-files` with options lists, and link .tools."""
    command = ["git", "ls-files", "-z", *options]
    listed = subprocess.run(command, cwd=TOP, stdout=subprocess.PIPE, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (TOP / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TOP / name, folder / name)
    (folder / ".tools").symlink_to(TOP / ".tools")


def copy(folder: Path, message: str = "The template") -> None:
    """Copy the files that git tracks, or would track, to a new repository that shares .tools."""
    copy_files(folder, "--cached", "--others", "--exclude-standard")
    as_me = ("-c", "user.name=me", "-c", "user.email=me@example.com")
    commit = ("commit", "--quiet", "--no-verify", f"--message={message}")
    for arguments in (("init", "--quiet"), ("add", "pyproject.toml"), (*as_me, *commit)):
        subprocess.run(["git", *arguments], cwd=folder, check=True)


def test_all(options: Namespace) -> int:
    """Run what `test` leaves out: stub images, broken images, builds, publishing, projects."""
    chosen = ("-m", "not unit and not slow and not template")
    with of_project.beside("projects", "test-projects", *options.words) as other:
        return tests("test-all", *chosen, *options.words) or other()


def test_projects(options: Namespace) -> int:
    """Run the tests that make projects from the template and build them, beside the others."""
    os.environ["BESIDE"] = "yes"
    return tests("test-all/projects", "-m", "template", *options.words)


def test_slow(options: Namespace) -> int:
    """Run the tests that take too long for each commit; a skipped test fails."""
    return tests("test-slow", "-m", "slow", "--no-skips", *options.words)


def test_fast(options: Namespace) -> int:
    """Run the tests without real torch: after an edit of a Dockerfile."""
    return tests("test-fast", "-m", "unit or stub", *options.words)
