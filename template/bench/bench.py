"""Compare our image with the article's and uv's, in one run on one machine: `./crate bench`.

Each contender gets its own machines (see machines.py), with the same base image, package index,
registry and torch. The results go to results/<build>.json, and as tables to results/<build>.md.
--quick uses the CPU build; WHEELS or pip's find-links names a folder with its wheel.
"""

import json
import os
import platform
import shutil
import signal
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import tomlkit

from template import engine, tiers
from template.bench import contenders, tables
from template.bench.contenders import HERE, SMALL, Contender
from template.bench.watch import Watch
from template.machines import Machine, Registry, base_image
from torchcrate.build import default_gpu_build
from torchcrate.host import TOP, fail, say

MOVED = ("written", "fetched", "pushed", "pulled")
TENSOR = "import torch; print(torch.ones(2, 2).sum().item())"
# Prints {package: bytes of its files without bytecode}.
PACKAGES = """
import json, re
from importlib.metadata import distributions
name = lambda d: re.sub("[-_.]+", "-", d.metadata["Name"]).lower()
size = lambda f: f.locate().stat().st_size if f.locate().is_file() else 0
print(json.dumps({name(d): sum(map(size, d.files or ())) for d in distributions()}))
"""
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

    def edits(self, bump: bool) -> None:
        """Run all other scenes, with or without the torch bump."""
        try:
            self.at_home()
            self.elsewhere()
            self.at_a_node()
            if bump:
                self.with_another_torch()
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
        self.contender.edit_code()
        self.build(home, "code edit: build", only)
        self.push(home, "code edit: push", "code")
        self.contender.add(SMALL[0])
        self.lock("dependency edit: lock")
        self.build(home, "dependency edit: build", only)
        self.push(home, "dependency edit: push", "dependency")
        cache = f"--cache-to=type=registry,ref={self.image}:cache,mode=max"
        self.build(home, "export the cache", only, cache)
        if self.contender.name == "ours":
            zstd = ("compression=zstd", "force-compression=true", "oci-mediatypes=true")
            self.push(home, "push with zstd", "zstd", *zstd)
        home.remove()

    def elsewhere(self) -> None:
        """Make the same two edits on a machine that has only the registry's cache."""
        cache = f"--cache-from=type=registry,ref={self.image}:cache"
        for edit, tag in (("code edit", "code-2"), ("dependency edit", "dependency-2")):
            if edit == "code edit":
                self.contender.edit_code()
            else:
                self.contender.add(SMALL[1])
                self.contender.lock()
            runner = self.new_machine("runner")
            output = f"--output={self.output(tag)}"
            self.build(runner, f"another machine, {edit}", cache, output)
            runner.remove()

    def at_a_node(self) -> None:
        """Pull and start the image on a machine that only runs it."""
        node = self.new_machine("node")
        for scene, tag in (("pull", "code"), ("pull after the dependency edit", "dependency")):
            with self.watch(scene):
                node.docker("pull", "--quiet", f"{self.image}:{tag}")
        image = f"{self.image}:dependency"
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
        start = ["run", "--rm", "--user=12345:12345", "--entrypoint=python", image, "-c", TENSOR]
        Path("/proc/sys/vm/drop_caches").write_text("3")
        for scene in ("first tensor, cold", "first tensor"):
            with self.watch(scene):
                node.docker(*start)
        stay = ["run", "--detach", "--user=0", "--entrypoint=sleep", image, "infinity"]
        container = node.docker(*stay).strip()
        start = ["exec", "--user=12345:12345", container, "python", "-c", TENSOR]
        node.docker(*start)
        with self.watch("first tensor in a container"):
            node.docker(*start)
        node.docker("exec", container, "sh", "-c", NO_BYTECODE)
        node.docker(*start)
        with self.watch("first tensor without bytecode"):  # this user cannot write any
            node.docker(*start)
        node.docker("rm", "--force", container)
        node.remove()
        if self.contender.name == "ours":
            node = self.new_machine("node")
            with self.watch("pull with zstd"):
                node.docker("pull", "--quiet", f"{self.image}:zstd")
            node.remove()

    def with_another_torch(self) -> None:
        """Bump torch on a new machine: most disks do not have room for all scenes on one."""
        only = "--output=type=cacheonly"
        home = self.new_machine("home")
        home.docker("pull", "--quiet", self.base)
        self.push(home, "torch bump: before", "before")
        self.contender.bump()
        self.lock("torch bump: lock")
        self.build(home, "torch bump: build", only)
        self.push(home, "torch bump: push", "bump")
        home.remove()

    def limits(self) -> dict[str, int]:
        """Return the fewest bytes that a build needs: see tables.LIMITS.

        The image has the packages and the sizes of their files, uv.lock the sizes of their wheels.
        """
        ours, small = self.contender, SMALL[0]
        project = contenders.Uv("limits", self.top / "limits", ours.build, ours.wheels)
        project.prepare()
        project.add(small)
        project.lock()
        sizes = contenders.wheel_sizes(project.folder / "uv.lock", project.wheels)
        node = self.new_machine("node")
        words = ["run", "--rm", "--entrypoint=python", f"{self.image}:dependency", "-c", PACKAGES]
        unpacked = json.loads(node.docker(*words))
        node.remove()
        here = {small} | ({"torch"} if ours.wheels else set())  # the folder has torch
        found = {
            "fetched": sum(sizes.get(name, 0) for name in unpacked.keys() - here),
            "unpacked": sum(size for name, size in unpacked.items() if name != small),
        }
        return found | ({"package": sizes[small]} if small in sizes else {})


def draw(file: Path) -> None:
    """Draw the pictures of a results file, with the matplotlib in poetry.lock."""
    locked = tomlkit.parse((TOP / "poetry.lock").read_text())["package"]
    version = next(package["version"] for package in locked if package["name"] == "matplotlib")
    command = [TOP / ".tools/uv/bin/uv", "run", "--quiet", "--no-project"]
    command += [f"--with=matplotlib=={version}", "python", HERE / "draw.py", file]
    contenders.run(*command, folder=TOP)


def interrupt(*_: object) -> None:
    """End as Ctrl-C does, so that all machines are stopped."""
    raise KeyboardInterrupt


def main(options: Namespace) -> int:
    """Run `./crate bench`."""
    only = [options.only] if options.only else list(contenders.ALL)
    build = "cpu" if options.quick else default_gpu_build()
    wheels = tiers.find_wheels() if options.quick else None
    if options.quick and not wheels:
        fail(
            "no folder has a wheel of torch+cpu: download it and name the folder with "
            "`./crate bench --quick --wheels FOLDER`."
        )
    signal.signal(signal.SIGTERM, interrupt)
    top = Path(tempfile.mkdtemp(prefix="bench.", dir="/var/tmp"))
    os.environ["ENGINE_DIR"] = str(top)
    registry = Registry(top)
    results: dict = {"build": build, "machine": f"{os.cpu_count()} cores, {platform.machine()}"}
    file = HERE / "results" / f"{build}.json"
    with ExitStack() as ends:  # if one of these fails, the others still run
        ends.callback(shutil.rmtree, top, ignore_errors=True)
        ends.callback(registry.stop)
        for name in ("base", "home", "runner", "node"):
            ends.callback(Machine(top, name).remove)
        (top / "root").symlink_to(engine.packages())
        registry.start()
        base = base_image(top, registry)
        runs = {}
        for name in only:
            contender = contenders.ALL[name](name, top / "contexts" / name, build, wheels)
            contender.prepare()
            runs[name] = Run(top, registry, base, contender)
        # First, right after each other: here the three are closest, and the host's speed may drift.
        for run in runs.values():
            run.from_nothing()
        for name, run in runs.items():
            # A folder of wheels has only one version of torch.
            run.edits(bump=not options.no_bump and not wheels)
            results[name] = run.figures
            file.parent.mkdir(exist_ok=True)
            file.write_text(json.dumps(results, indent=2) + "\n")
            if name == "ours":
                results["limits"] = run.limits()
                file.write_text(json.dumps(results, indent=2) + "\n")
            registry.forget(name)
        tables.write(file)
        draw(file)
    say(file.with_suffix(".md").read_text())
    return 0
