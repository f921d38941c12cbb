"""Compare our image with three other Dockerfiles, in one run on one machine: `./crate bench`.

Each contender gets its own machines (see machines.py), with the same base image, package index,
registry and torch. The project is a real one, with 65 packages beside torch. The sample and a
larger project show how one edit grows with the number of packages. The results go to
results/<build>-<project>.json, and as tables to the .md beside it. A run that was stopped goes on:
it measures only what the JSON file lacks for this commit. --quick takes the CPU build and the
sample; WHEELS or pip's find-links names a folder with its wheel.
"""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import tomlkit

from template import engine, tiers
from template.bench import contenders, tables
from template.bench.contenders import ADD, HERE, PROJECTS, SMALL, Contender
from template.bench.watch import Watch
from template.machines import Machine, Registry, base_image
from torchcrate import host
from torchcrate.build import default_gpu_build
from torchcrate.host import TOP, fail, say
from torchcrate.stages.locks import split_locks

MOVED = ("written", "fetched", "pushed", "pulled")
# What the projects are measured with that only show how an edit grows.
GROWTH = ("ours", "torch-first")
TENSOR = "import torch; print(torch.ones(2, 2).sum().item())"
NO_BYTECODE = "find / -xdev -path '*/site-packages/*' -name __pycache__ -prune -exec rm -rf {} +"


class Run:
    """One contender's run through all scenes; `figures` has the measurements of each."""

    def __init__(self, top: Path, registry: Registry, base: str, contender: Contender) -> None:
        """Prepare a run in the folder `top`, from the image `base` in the registry."""
        self.top, self.registry, self.base, self.contender = top, registry, base, contender
        self.figures: dict[str, dict[str, float]] = {}
        self.image = f"{registry.host}/{contender.name}"
        (top / "logs").mkdir(exist_ok=True)

    @contextmanager
    def watch(self, scene: str) -> Iterator[None]:
        """Measure a scene and print the result."""
        say(f"{self.contender.name}: {scene}")
        with Watch(self.top, self.registry) as watch:
            yield
        self.figures[scene] = watch.figures
        said = (f"{name} {watch.figures[name] / 10**6:,.1f} MB" for name in MOVED)
        say(f"    {watch.figures['seconds']} s, {', '.join(said)}")

    def build(self, machine: Machine, scene: str, *options: str) -> None:
        """Build on a machine and measure it."""
        log = self.top / "logs" / f"{self.contender.name}-{scene.replace(' ', '-')}.log"
        with self.watch(scene):
            self.contender.run(machine, self.base, log, *options)
        steps = [line for line in log.read_text().splitlines() if " CACHED" in line]
        self.figures[scene]["cached_steps"] = len(steps)

    def push(self, machine: Machine, scene: str, tag: str, *more: str) -> None:
        """Push an image whose build is cached already."""
        self.build(machine, scene, f"--output={','.join([self.output(tag), *more])}")

    def output(self, tag: str) -> str:
        """Return buildx's output that pushes an image, and as in CI does not unpack it here."""
        return f"type=image,name={self.image}:{tag},push=true,store=false"

    def new_machine(self, name: str) -> Machine:
        """Return a new machine."""
        machine = Machine(self.top, name)
        machine.start()
        return machine

    def from_nothing(self) -> None:
        """Build from nothing, and again with the downloads in the cache."""
        only = "--output=type=cacheonly"
        try:
            home = self.new_machine("home")
            home.docker("pull", "--quiet", self.base)
            self.build(home, "build from nothing", only)
            home.forget()  # not --no-cache, which empties cache mounts too
            self.build(home, "build again, downloads there", only)
        finally:
            Machine(self.top, "home").remove()

    def edits(self) -> None:
        """Run the scenes of edits, on machines with a cache and without."""
        try:
            self.at_home()
            self.elsewhere()
            self.at_a_node()
        finally:
            for name in ("home", "runner", "node"):
                Machine(self.top, name).remove()

    def lock(self, scene: str) -> None:
        """Update the locks and measure it."""
        with self.watch(scene):
            self.contender.lock()

    def at_home(self) -> None:
        """Push, then edit, build and push again, on a machine that keeps its cache."""
        only = "--output=type=cacheonly"
        home = self.new_machine("home")
        home.docker("pull", "--quiet", self.base)
        self.contender.run(home, self.base, self.top / "logs" / "before-the-push.log", only)
        self.push(home, "push", "first")
        zstd = ("compression=zstd", "force-compression=true", "oci-mediatypes=true")
        self.push(home, "push, zstd", "zstd", *zstd)
        self.contender.edit_code()
        self.build(home, "code edit: build", only)
        self.push(home, "code edit: push", "code")
        for edit in self.contender.edits:
            if edit == ADD or self.contender.project != "sample":
                self.edit(home, edit, *contenders.EDITS[edit])
        cache = f"--cache-to=type=registry,ref={self.image}:cache,mode=max"
        self.build(home, "export the cache", only, cache)
        home.remove()

    def edit(self, home: Machine, edit: str, package: str, requirement: str) -> None:
        """Change a dependency, lock, build and push."""
        self.contender.change(package, requirement)
        self.lock(f"{edit}: lock")
        self.build(home, f"{edit}: build", "--output=type=cacheonly")
        self.push(home, f"{edit}: push", edit.replace(" ", "-"))

    def growth(self) -> None:
        """Push, then add a small package and push again: once for each size of project."""
        try:
            home = self.new_machine("home")
            home.docker("pull", "--quiet", self.base)
            self.push(home, "push", "first")
            self.edit(home, ADD, *contenders.EDITS[ADD])
        finally:
            Machine(self.top, "home").remove()

    def elsewhere(self) -> None:
        """Make two edits on a machine that has only the registry's cache."""
        cache = f"--cache-from=type=registry,ref={self.image}:cache"
        for edit, tag in (("code edit", "code-2"), (ADD, "dependency-2")):
            if edit == "code edit":
                self.contender.edit_code()
            else:
                self.contender.change(SMALL[1], SMALL[1])
                self.contender.lock()
            runner = self.new_machine("runner")
            output = f"--output={self.output(tag)}"
            self.build(runner, f"another machine, {edit}", cache, output)
            runner.remove()

    def at_a_node(self) -> None:
        """Pull and start the image on a machine that only runs it."""
        start = ["run", "--rm", "--user=12345:12345", "--entrypoint=python"]
        for tag in ("zstd", "first"):
            node = self.new_machine("node")
            with self.watch(f"pull and start, {'gzip' if tag == 'first' else tag}"):
                node.docker(*start, f"{self.image}:{tag}", "-c", TENSOR)
            if tag == "zstd":
                node.remove()
        image = f"{self.image}:{ADD.replace(' ', '-')}"
        with self.watch("pull after adding a package"):
            node.docker("pull", "--quiet", image)
        sizes = "for f in / /app/.venv /app/src /source; do test -e $f && du -sbx $f; done; true"
        words = ["run", "--rm", "--user=0", "--entrypoint=sh", image, "-c", sizes]
        found = {line.split()[1]: int(line.split()[0]) for line in node.docker(*words).splitlines()}
        base = ["run", "--rm", "--user=0", "--entrypoint=sh", self.base, "-c", "du -sb -x /"]
        self.figures["size"] = {
            "all": found["/"],
            "base": int(node.docker(*base).split()[0]),
            "venv": found["/app/.venv"],
            "code": found.get("/source", found.get("/app/src", 0)),
        }
        Path("/proc/sys/vm/drop_caches").write_text("3")
        for scene in ("first tensor, cold", "first tensor"):
            with self.watch(scene):
                node.docker(*start, image, "-c", TENSOR)
        stay = ["run", "--detach", "--user=0", "--entrypoint=sleep", image, "infinity"]
        container = node.docker(*stay).strip()
        inside = ["exec", "--user=12345:12345", container, "python", "-c", TENSOR]
        node.docker(*inside)
        with self.watch("first tensor in a container"):
            node.docker(*inside)
        node.docker("exec", container, "sh", "-c", NO_BYTECODE)
        node.docker(*inside)
        with self.watch("first tensor without bytecode"):  # this user cannot write any
            node.docker(*inside)
        node.docker("rm", "--force", container)
        node.remove()

    def with_another_torch(self) -> None:
        """Bump torch on a new machine: most disks do not have room for all scenes on one."""
        only = "--output=type=cacheonly"
        try:
            home = self.new_machine("home")
            home.docker("pull", "--quiet", self.base)
            self.push(home, "torch bump: before", "before")
            self.contender.bump()
            self.lock("torch bump: lock")
            self.build(home, "torch bump: build", only)
            self.push(home, "torch bump: push", "bump")
        finally:
            Machine(self.top, "home").remove()


class Limit:
    """What no image can do without, as programs on this machine: read, hash, unpack, compile."""

    def __init__(self, top: Path, registry: Registry, ours: Contender) -> None:
        """Prepare to measure for our own form of a project."""
        self.top, self.registry, self.ours = top / "limit", registry, ours
        self.figures: dict[str, dict[str, float]] = {}

    def measure(self) -> None:
        """Download the wheels that the locks name, then install and compile them."""
        locks, tree, wheels = (self.top / name for name in ("locks", "tree", "wheels"))
        groups = ("main", "dev", "", host.index_url())
        split_locks.split(self.ours.folder, locks, self.ours.build, *groups)
        names = ("torch", "settled", "new")
        named = [f"--requirement={locks / name}.txt" for name in names]
        python = TOP / ".tools/uv/bin/python"  # the one with pip
        download = [python, "-m", "pip", "download", "--quiet", "--no-deps", *named]
        download += ["--require-hashes", "--only-binary=:all:", f"--dest={wheels}"]
        download += ["--python-version=3.11"]
        download += [f"--find-links={self.ours.wheels}"] if self.ours.wheels else []
        contenders.run(*download, folder=TOP)
        sizes = {file: file.stat().st_size for file in wheels.glob("*.whl")}
        self.figures["wheels"] = {"fetched": sum(sizes.values())}
        venv = tree / "app/.venv"
        install = ["uv", "pip", "install", "--quiet", "--offline", "--no-deps", "--require-hashes"]
        install += [
            f"--find-links={wheels}",
            f"--cache-dir={tree / 'cache'}",
            "--link-mode=hardlink",
        ]
        install += [f"--python={sys.executable}", f"--prefix={venv}", *named]
        with Watch(self.top, self.registry) as watch:
            contenders.run(*install, folder=TOP)
        self.figures["unpack"] = watch.figures
        with Watch(self.top, self.registry) as watch:
            compile_ = [sys.executable, "-m", "compileall", "-qq", "-j0", venv]
            subprocess.run(compile_, check=False)  # torch has files that are for Python 3.12
        self.figures["compile"] = watch.figures
        shutil.rmtree(self.top)


def draw(file: Path) -> None:
    """Draw the pictures of a results file, with the matplotlib in poetry.lock."""
    locked = tomlkit.parse((TOP / "poetry.lock").read_text())["package"]
    version = next(package["version"] for package in locked if package["name"] == "matplotlib")
    command = [TOP / ".tools/uv/bin/uv", "run", "--quiet", "--no-project"]
    command += [f"--with=matplotlib=={version}", "python", HERE / "draw.py", file]
    contenders.run(*command, folder=TOP)


class Results:
    """The figures of a project, in a file that a stopped run goes on with."""

    def __init__(self, file: Path, build: str) -> None:
        """Read the figures that this commit has already."""
        self.file = file
        head = ["git", "rev-parse", "HEAD"]
        commit = subprocess.run(head, cwd=TOP, capture_output=True, text=True, check=True).stdout
        machine = f"{os.cpu_count()} cores, {platform.machine()}"
        self.all: dict = {"build": build, "machine": machine, "commit": commit.strip(), "done": []}
        found = json.loads(file.read_text()) if file.is_file() else {}
        if found.get("commit") == self.all["commit"]:
            self.all = found

    def part(self, name: str, part: str, run: Callable[[], None], figures: dict) -> None:
        """Run a part of a contender's scenes, unless it has been run, and write its figures."""
        if f"{name}, {part}" in self.all["done"]:
            return
        run()
        self.all[name] = self.all.get(name, {}) | figures
        self.all["done"].append(f"{name}, {part}")
        self.file.parent.mkdir(exist_ok=True)
        self.file.write_text(json.dumps(self.all, indent=2) + "\n")


def measure(
    top: Path, registry: Registry, base: str, project: str, options: Namespace, build: str
) -> None:
    """Run all contenders with a project, one after the other."""
    grows = project != "real" and not options.quick
    only = [options.only] if options.only else list(contenders.ALL)
    only = [name for name in only if name in GROWTH or not grows]
    wheels = tiers.find_wheels() if options.quick else None
    results = Results(HERE / "results" / f"{build}-{project}.json", build)
    folder = top / "contexts" / project
    ours = contenders.Ours("like", folder / "like", build, wheels, project)
    ours.prepare()
    results.all["packages"] = ours.packages()
    runs = []
    for name in only:
        contender = contenders.ALL[name](name, folder / name, build, wheels, project)
        contender.prepare(ours.folder)
        runs.append(Run(top, registry, base, contender))
    parts = {"from nothing": Run.from_nothing, "edits": Run.edits, "bump": Run.with_another_torch}
    if options.no_bump or wheels:  # a folder of wheels has only one version
        del parts["bump"]
    for part, scene in {"growth": Run.growth}.items() if grows else parts.items():
        # Each part of all of them, one right after the other: the host's speed may drift.
        for run in runs:
            name = run.contender.name
            if part == "bump" and not run.contender.bumps:
                continue
            results.part(name, part, partial(scene, run), run.figures)
            with suppress(FileNotFoundError):  # it pushed nothing in this run
                registry.forget(name)
        if part == "from nothing":
            limit = Limit(top, registry, ours)
            results.part("limit", "all", limit.measure, limit.figures)
    main = results.file.with_name(f"{build}-{'sample' if wheels else 'real'}.json")
    if main.is_file():  # --project may have another one only
        tables.write(main)
        draw(main)
        say(main.with_suffix(".md").read_text())


def main(options: Namespace) -> int:
    """Run `./crate bench`."""
    build = "cpu" if options.quick else default_gpu_build()
    if options.quick and not tiers.find_wheels():
        fail(
            "no folder has a wheel of torch+cpu: download it and name the folder with "
            "`./crate bench --quick --wheels FOLDER`."
        )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    top = Path(tempfile.mkdtemp(prefix="bench.", dir="/var/tmp"))
    os.environ["ENGINE_DIR"] = str(top)
    registry = Registry(top)
    with ExitStack() as ends:  # if one of these fails, the others still run
        ends.callback(shutil.rmtree, top, ignore_errors=True)
        ends.callback(registry.stop)
        for name in ("base", "home", "runner", "node"):
            ends.callback(Machine(top, name).remove)
        (top / "root").symlink_to(engine.packages())
        registry.start()
        base = base_image(top, registry)
        for project in [options.project] if options.project else PROJECTS:
            if project == "sample" or not options.quick:  # the wheels' folder has no others
                measure(top, registry, base, project, options, build)
    return 0
