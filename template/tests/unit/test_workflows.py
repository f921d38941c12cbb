"""The workflows keep their rules, and whoever breaks one is told by the linters or by this test."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from torchcrate.host import TOP

BIN = Path(sys.executable).parent
# The only secret that GitHub gives to a pull request from a fork, and then to read with.
OWN_TOKEN = "secrets.GITHUB_TOKEN"


def workflows(folder):
    """Yield (file, workflow, what it is started by)."""
    for file in sorted(folder.glob("*.yml")):
        workflow = YAML(typ="safe", pure=True).load(file.read_text())
        yield file.name, workflow, set(workflow["on"])


# The conditions that keep a job from forks' pull requests. Whatever else one says, it may run.
NOT_FOR_FORKS = (
    "github.event_name == 'push'",
    "startsWith(github.head_ref, 'renovate/')"
    " && github.event.pull_request.head.repo.full_name == github.repository",
    "needs.publish.result == 'success'",  # which does not run for them either
)


def for_pull_requests(job, started):
    """Return whether a job runs for pull requests, from forks too."""
    condition = str(job.get("if", "")).removeprefix("!cancelled() && ")
    apart = re.sub(r"\([^()]*\|\|[^()]*\)$", "", condition)  # what is only more narrow
    kept = condition.startswith(NOT_FOR_FORKS) and "||" not in apart
    return bool(started & {"pull_request", "workflow_call"}) and not kept


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
            if "concurrency" not in workflow:
                found.append(f"{file} lets runs that nobody waits for go on")
    named = [
        (file, name, job, started)
        for file, workflow, started in every
        for name, job in workflow["jobs"].items()
    ]
    for file, name, job, started in named:
        here = f"{file}: {name}"
        permissions = job.get("permissions")
        if "uses" not in job and "timeout-minutes" not in job:
            found.append(f"{here} has no time limit")
        if permissions is None and "workflow_call" not in started:
            found.append(f"{here} does not say what it may do")
        if for_pull_requests(job, started):
            secrets = set(re.findall(r"secrets\.\w+", str(job))) - {OWN_TOKEN}
            found += [f"{here} has {secret}, and runs for pull requests" for secret in secrets]
            if job.get("secrets"):
                found.append(f"{here} hands on secrets, and runs for pull requests")
            writes = [what for what, how in (permissions or {}).items() if how == "write"]
            found += [f"{here} may write {what}, and runs for pull requests" for what in writes]
            given = set(job.get("with", {})) & {"write-cache", "push"}
            found += [f"{here} is to {what}, and runs for pull requests" for what in given]
        if name == "publish":
            condition = str(job.get("if", ""))
            for need in ("lint", "image-of-main", "image-for-arm"):
                if f"needs.{need}.result == 'success'" not in condition or need not in job["needs"]:
                    found.append(f"{here} does not wait for {need}")
    return found


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(TOP / ".github", tmp_path / ".github")
    return tmp_path


def test_they_keep_all_rules(copy):
    assert zizmor(copy) == ""
    assert own_rules(copy) == []


# {what is broken: (file, text, what to put there, what is said of it)}
BROKEN = {
    "an action by its tag": (
        *("ci.yml", r"actions/checkout@[0-9a-f]{40} # v7.0.1", "actions/checkout@v7"),
        "unpinned-uses",
    ),
    "the credentials stay in the checkout": (
        *("ci.yml", r"        with:\n          persist-credentials: false\n", ""),
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
    "runs that nobody waits for": (
        *("weekly.yml", r"concurrency:\n(  .*\n)+", ""),
        "weekly.yml lets runs that nobody waits for go on",
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
        *(
            "ci.yml",
            r"(    with:\n      build: \$\{\{ matrix.build \}\}\n)",
            r"    secrets: inherit\n\1",
        ),
        "ci.yml: image hands on secrets, and runs for pull requests",
    ),
    "a secret in the job that builds": (
        *("image.yml", r"      BUILD: ", "      KEY: ${{ secrets.KEY }}\n      BUILD: "),
        "image.yml: image has secrets.KEY, and runs for pull requests",
    ),
    "pull requests write the cache": (
        *("ci.yml", r"packages: read", "packages: write"),
        "ci.yml: image may write packages, and runs for pull requests",
    ),
    "pull requests write GitHub's cache": (
        *("ci.yml", r"(      cache: \$\{\{ matrix.cache \}\}\n)", r"\1      write-cache: true\n"),
        "ci.yml: image is to write-cache, and runs for pull requests",
    ),
    "the job with rights for pull requests too": (
        *("ci.yml", r"(if: github.event_name == 'push')\n", r"\1 || github.event_name != 'x'\n"),
        "ci.yml: image-of-main may write packages, and runs for pull requests",
    ),
    "published without the tests": (
        *("ci.yml", r" && needs\.lint\.result == 'success'", ""),
        "ci.yml: publish does not wait for lint",
    ),
    "no time limit": ("ci.yml", r"    timeout-minutes: 30\n", "", "ci.yml: lint has no time limit"),
    "no word of permissions": (
        *("weekly.yml", r"    permissions:\n      contents: read\n", ""),
        "weekly.yml: test does not say what it may do",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_rule_that_is_broken_is_noticed(copy, name):
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
def test_a_dockerfile_that_hadolint_rejects(tmp_path, old, new, rule):
    text, count = re.subn(old, new, (TOP / "Dockerfile").read_text(), count=1, flags=re.MULTILINE)
    assert count
    (tmp_path / "Dockerfile").write_text(text)
    command = [BIN / "hadolint", tmp_path / "Dockerfile"]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True)
    assert done.returncode
    assert rule in done.stdout
