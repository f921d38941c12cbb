"""The tiers of the template's tests: see CONTRIBUTING.md, which says what each is for."""

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

REPORTS = TOP / "reports"
SISTERS = ("torchvision", "torchaudio")
T = TypeVar("T")


def tests(tier: str, *arguments: str) -> int:
    """Run tests of the template; that none was chosen, as by -k, is no failure."""
    config = ("-c", "template/tests/pytest.ini")
    code = of_project.pytest(REPORTS / tier, *config, "template/tests", *arguments)
    return 0 if code == 5 else code


def test(options: Namespace) -> int:
    """Hold the real images to the contract, the GPU's and the CPU's at once, after unit tests."""
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
    """Return pytest's arguments for the contract of real images, and what the template adds."""
    return [*words, "tests/image", "template/real_contract"]


def logged(name: str, work: Callable[..., T], *arguments: object, **more: object) -> T:
    """Call a function with a log to write to, and return what it returns."""
    REPORTS.mkdir(exist_ok=True)
    with (REPORTS / f"{name}.log").open("w") as log:
        return work(*arguments, log=log, **more)


def hold_cpu(project: Path, after: Future, words: list[str], log: IO) -> int:
    """Hold the CPU image to the contract, once nothing else is built; return pytest's exit code.

    Where PyTorch's index does not answer it is that of a project without torchvision, locked for a
    folder of wheels: this is also how an air-gapped user works.
    """
    more = {}
    if build.torch_index_answers("cpu"):
        project = TOP
    else:
        more = {"WHEELS": str(wheels()), "IMAGE": f"image-test-{uuid.uuid4().hex[:12]}"}
        without_torchvision(project)
        if crate(project, "lock", "--build=cpu", log=log, **more):
            fail(f"the CPU image's lock was not made: see {log.name}.")
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
    """Run ./crate of a project, write what it says to a log, and return its exit code."""
    command = [sys.executable, project / "crate", *arguments]
    how = {"cwd": project, "env": {**os.environ, **more}, "stdout": log, "stderr": log}
    return subprocess.run(command, check=False, **how).returncode


def wheels() -> Path:
    """Return the folder that has a wheel of torch for the CPU: WHEELS, or of pip's find-links."""
    names = [os.environ.get("WHEELS", ""), *os.environ.get("PIP_FIND_LINKS", "").split()]
    for folder in map(Path, filter(None, names)):
        if any(folder.glob("torch-*+cpu-cp311-*.whl")):
            return folder
    fail(
        "PyTorch's index does not answer, and no folder has a wheel of torch+cpu: name one with "
        "`./crate test --wheels FOLDER`."
    )


def without_torchvision(folder: Path) -> None:
    """Copy the repository, as `copy` does, and take torch's sisters out of pyproject.toml."""
    copy(folder)
    file = folder / "pyproject.toml"
    document = tomlkit.parse(file.read_text())
    needs = document["project"]["dependencies"]
    for need in [need for need in needs if need.startswith(SISTERS)]:
        needs.remove(need)
    file.write_text(tomlkit.dumps(document))


def copy(folder: Path, message: str = "The template") -> None:
    """Copy what git tracks, or would track, to a repository of its own with these .tools."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=TOP, stdout=subprocess.PIPE, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (TOP / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TOP / name, folder / name)
    (folder / ".tools").symlink_to(TOP / ".tools")
    as_me = ("-c", "user.name=me", "-c", "user.email=me@example.com")
    commit = ("commit", "--quiet", "--no-verify", f"--message={message}")
    for arguments in (("init", "--quiet"), ("add", "pyproject.toml"), (*as_me, *commit)):
        subprocess.run(["git", *arguments], cwd=folder, check=True)


def test_all(options: Namespace) -> int:
    """Run what `test` leaves out: stub images, broken ones, builds, publishing, projects."""
    chosen = ("-m", "not unit and not slow and not template")
    with of_project.beside("projects", "test-projects", *options.words) as other:
        return tests("test-all", *chosen, *options.words) or other()


def test_projects(options: Namespace) -> int:
    """Run the tests that make projects of the template, and build them, beside the others."""
    os.environ["BESIDE"] = "yes"
    return tests("test-all/projects", "-m", "template", *options.words)


def test_slow(options: Namespace) -> int:
    """Run what takes too long for each commit; a test that is skipped fails."""
    return tests("test-slow", "-m", "slow", "--no-skips", *options.words)


def test_fast(options: Namespace) -> int:
    """Run what needs no real torch: after an edit of a Dockerfile."""
    return tests("test-fast", "-m", "unit or stub", *options.words)
