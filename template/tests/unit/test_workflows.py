"""The workflows keep their rules: the linters and this test notice a broken one."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from template import ci_here
from torchcrate.host import TOP

BIN = Path(sys.executable).parent
# The only secret that GitHub gives to a pull request from a fork, and then to read with.
OWN_TOKEN = "secrets.GITHUB_TOKEN"


def workflows(folder):
    """Yield (file, workflow, what it is started by)."""
    for file in sorted(folder.glob("*.yml")):
        workflow = YAML(typ="safe", pure=True).load(file.read_text())
        yield file.name, workflow, set(workflow["on"])


# Conditions that keep a job from the pull requests of forks.
NOT_FOR_FORKS = (
    "github.event_name == 'push'",
    "startsWith(github.head_ref, 'renovate/')"
    " && github.event.pull_request.head.repo.full_name == github.repository",
)
NOT_FOR_PULL_REQUESTS = ("github.ref == 'refs/heads/main' && ", "github.event_name == 'push' && ")
ON_A_TAG = "startsWith(github.ref, 'refs/tags/v')"


def for_pull_requests(job, started, jobs):
    """Return whether a job runs for pull requests from forks."""
    if not started & {"pull_request", "workflow_call"}:
        return False
    condition = str(job.get("if", ""))
    if condition.startswith(NOT_FOR_FORKS) and "||" not in condition:
        return False
    needs = job.get("needs", [])
    needs = [needs] if isinstance(needs, str) else needs
    # Without a condition, a job waits until the jobs that it needs have succeeded.
    return bool(condition) or all(for_pull_requests(jobs[need], started, jobs) for need in needs)


def zizmor(folder):
    """Return what zizmor says of a folder with .github in it, "" for nothing."""
    command = [BIN / "zizmor", "--offline", "--quiet", "--no-progress", folder / ".github"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout + done.stderr if done.returncode else ""


def own_rules(folder):
    """Return what breaks the rules that no linter knows of."""
    found = []
    every = list(workflows(folder / ".github/workflows"))
    for file, workflow, started in every:
        if "workflow_call" not in started:
            if workflow.get("permissions") != {}:
                found.append(f"{file} gives permissions to all jobs")
            if "pull_request" in started and "concurrency" not in workflow:
                found.append(f"{file} does not stop the older runs of a pull request")
    named = [
        (file, name, job, started, workflow["jobs"])
        for file, workflow, started in every
        for name, job in workflow["jobs"].items()
    ]
    for file, name, job, started, jobs in named:
        here = f"{file}: {name}"
        permissions = job.get("permissions")
        if "uses" not in job and "timeout-minutes" not in job:
            found.append(f"{here} has no time limit")
        if permissions is None and "workflow_call" not in started:
            found.append(f"{here} does not say what it may do")
        if for_pull_requests(job, started, jobs):
            secrets = set(re.findall(r"secrets\.\w+", str(job))) - {OWN_TOKEN}
            found += [f"{here} has {secret}, and runs for pull requests" for secret in secrets]
            if job.get("secrets"):
                found.append(f"{here} hands on secrets, and runs for pull requests")
            writes = [what for what, how in (permissions or {}).items() if how == "write"]
            found += [f"{here} may write {what}, and runs for pull requests" for what in writes]
        if name == "publish" and (job["needs"] != ["lint", "images"] or "()" in job["if"]):
            found.append(f"{here} does not wait for lint and images")
        environments = [job, *job.get("steps", [])]
        caches = [
            one["env"]["CACHE_TO"] for one in environments if "CACHE_TO" in one.get("env", {})
        ]
        caches = [to.removeprefix("${{ ").startswith(NOT_FOR_PULL_REQUESTS) for to in caches]
        if "cache-to" in str(job) or not all(caches):
            found.append(f"{here} writes the cache for pull requests")
        found += [f"{here} {what}" for what in pushes(job.get("steps", []))]
    return found


def pushes(steps):
    """Yield what is wrong with a job that pushes an image."""
    names = [step.get("run", "") for step in steps]
    if "./crate step push" not in names:
        return
    tested = [i for i, run in enumerate(names) if run.startswith('./crate contract "$DIGEST"')]
    push = names.index("./crate step push")
    if steps[push].get("if") != ON_A_TAG:
        yield "pushes without a tag"
    if not tested or tested[0] > push or set(steps[tested[0]]) & {"if", "continue-on-error"}:
        yield "pushes what was not tested"
    elif steps[tested[0]]["env"] != steps[push]["env"]:
        yield "pushes another image than the one that it tests"


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(TOP / ".github", tmp_path / ".github")
    return tmp_path


def test_rules(copy):
    assert zizmor(copy) == ""
    assert own_rules(copy) == []


def used(folder):
    """Yield (action with its commit, names of the inputs) for each use of an action."""
    for _, workflow, _ in workflows(folder):
        for job in workflow["jobs"].values():
            for step in job.get("steps", []):
                if "uses" in step:
                    yield step["uses"], set(step.get("with", {}))


def test_inputs():
    """stand-ins/inputs.json has the inputs that each action's own action.yml declares."""
    declared = json.loads((ci_here.HERE / "inputs.json").read_text())
    uses = list(used(TOP / ".github/workflows"))
    assert {action for action, _ in uses} == set(declared), (
        "template/stand-ins/inputs.json has other actions: write in the names below `inputs:` in "
        "each new action.yml, and see that its stand-in still does the same"
    )
    for action, inputs in uses:
        assert inputs <= set(declared[action]), f"{action} has other inputs"


def test_stand_ins():
    """A stand-in declares no input that the action lacks, and uses all that the workflows set."""
    declared = json.loads((ci_here.HERE / "inputs.json").read_text())
    folders = ci_here.actions()
    for action, inputs in used(TOP / ".github/workflows"):
        folder = Path(folders[action])
        if folder.name == "nothing":
            continue
        text = (folder / "action.yml").read_text()
        known = set(YAML(typ="safe", pure=True).load(text)["inputs"])
        assert inputs <= known <= set(declared[action]), f"{folder.name} and {action} differ"
        for name in inputs:
            assert f"inputs.{name} }}" in text, f"{folder.name} ignores {name}"


# {what is broken: (file, text, what to put there, what is said of it)}
BROKEN = {
    "an action by its tag": (
        *("ci.yml", r"actions/checkout@[0-9a-f]{40} # v7.0.1", "actions/checkout@v7"),
        "unpinned-uses",
    ),
    "the credentials stay in the checkout": (
        *("ci.yml", r"        with: { persist-credentials: false }\n", ""),
        "artipacked",
    ),
    "a title in a script": (
        *("ci.yml", r"run: ./crate lint", "run: echo ${{ github.event.pull_request.title }}"),
        "template-injection",
    ),
    "pull requests with the rights of main": (
        *("ci.yml", r"  pull_request:\n", "  pull_request_target:\n"),
        "dangerous-triggers",
    ),
    "no least permissions": (
        *("ci.yml", r"permissions: \{\}", "permissions: write-all"),
        "ci.yml gives permissions to all jobs",
    ),
    "no end to older runs": (
        *("ci.yml", r"concurrency:.*\n(  .*\n)+", ""),
        "ci.yml does not stop the older runs of a pull request",
    ),
    "a secret for pull requests": (
        *(
            "ci.yml",
            r"run: ./crate test-fast",
            "run: TOKEN=${{ secrets.DEPLOY }} ./crate test-fast",
        ),
        "ci.yml: lint has secrets.DEPLOY, and runs for pull requests",
    ),
    "all secrets for the job that builds": (
        *("ci.yml", r"(packages: read \}\n)", r"\1    secrets: inherit\n"),
        "ci.yml: images-of-pull-request hands on secrets, and runs for pull requests",
    ),
    "a secret in the job that builds": (
        *(
            "images.yml",
            r"      TORCH_BUILD: ",
            "      KEY: ${{ secrets.KEY }}\n      TORCH_BUILD: ",
        ),
        "images.yml: image has secrets.KEY, and runs for pull requests",
    ),
    "pull requests write packages": (
        *("ci.yml", r"packages: read", "packages: write"),
        "ci.yml: images-of-pull-request may write packages, and runs for pull requests",
    ),
    "pull requests write the cache": (
        *(
            "images.yml",
            r"(CACHE_TO: \$\{\{) github\.ref == 'refs/heads/main' && (format.*) \|\| '' \}\}",
            r"\1 \2 }}",
        ),
        "images.yml: image writes the cache for pull requests",
    ),
    "the job with rights for pull requests too": (
        *("ci.yml", r"(if: github.event_name == 'push')\n", r"\1 || github.event_name != 'x'\n"),
        "ci.yml: images may write packages, and runs for pull requests",
    ),
    "a release without publish": (
        *("ci.yml", r"    needs: publish\n", ""),
        "ci.yml: release may write contents, and runs for pull requests",
    ),
    "published without lint": (
        *("ci.yml", r"needs: \[lint, images\]", "needs: [images]"),
        "ci.yml: publish does not wait for lint and images",
    ),
    "published although lint failed": (
        *("ci.yml", r"(if: github.event_name == 'push') && s", r"\1 && !cancelled() && s"),
        "ci.yml: publish does not wait for lint and images",
    ),
    "pushed without a tag": (
        *("images.yml", r"        if: startsWith.*\n(        run: ./crate step push)", r"\1"),
        "images.yml: image pushes without a tag",
    ),
    "pushed before it is tested": (
        *("images.yml", r"(run: \./crate) contract .*", r"\1 --help"),
        "images.yml: image pushes what was not tested",
    ),
    "pushed although a test failed": (
        *(
            "images.yml",
            r"(        run: \./crate contract)",
            r"        continue-on-error: true\n\1",
        ),
        "images.yml: image pushes what was not tested",
    ),
    "pushed by another name": (
        *(
            "images.yml",
            r"(step push\n        env:\n          DIGEST: ).*",
            r"\1${{ matrix.build }}",
        ),
        "images.yml: image pushes another image than the one that it tests",
    ),
    "no time limit": ("ci.yml", r"    timeout-minutes: 30\n", "", "ci.yml: lint has no time limit"),
    "no word of permissions": (
        *("weekly.yml", r"    permissions: \{ contents: read \}\n", ""),
        "weekly.yml: test does not say what it may do",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_rule(copy, name):
    file, old, new, said = BROKEN[name]
    file = copy / ".github/workflows" / file
    text, count = re.subn(old, new, file.read_text(), count=1)
    assert count, f"{file.name} has no {old}"
    file.write_text(text)
    assert said in "\n".join([zizmor(copy), *own_rules(copy)])


@pytest.mark.parametrize(
    "old, new, rule",
    [
        (r"^WORKDIR /app$", "WORKDIR app", "DL3000"),
        (r"^FROM \$\{BASE_IMAGE\} AS base", "FROM ubuntu:latest AS base", "DL3007"),
        (r"^USER 10001:10001", "USER root", "DL3002"),
    ],
)
def test_hadolint(tmp_path, old, new, rule):
    text, count = re.subn(old, new, (TOP / "Dockerfile").read_text(), count=1, flags=re.MULTILINE)
    assert count
    (tmp_path / "Dockerfile").write_text(text)
    command = [BIN / "hadolint", tmp_path / "Dockerfile"]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True)
    assert done.returncode
    assert rule in done.stdout
