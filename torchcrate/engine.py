"""The Docker Engine that `docker` talks to, and the base image that builds start from."""

from __future__ import annotations  # a Mac's own Python is 3.9

import os
import re
import shutil
import subprocess

from torchcrate.host import argument, fail, say

# Docker 23 is the first whose `docker build` is BuildKit with `COPY --link` and build contexts.
OLDEST = (23, 0)
OLDEST_BUILDX = (0, 19)  # whose bake asks leave to read files outside the project
HOW = "install Docker Engine 23 or newer (https://docs.docker.com/engine/install/) and start it"

Environment = dict  # what os.environ is, with what `docker` needs added


def quiet(command: list[str], environment: Environment | None = None, **more) -> str | None:
    """Return what a command prints, or None if it fails or is not there."""
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, **more
        )
    except (FileNotFoundError, PermissionError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def numbers(version: str) -> tuple[int, ...]:
    """Return the first numbers of a version: (28, 5) for "28.5.2+dfsg4", (0, 29) for "v0.29.1"."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def version(environment: Environment) -> str | None:
    """Return the version of the engine that answers, or None."""
    return quiet(["docker", "version", "--format", "{{.Server.Version}}"], environment)


def complaint(environment: Environment) -> str:
    """Return what `docker` says when no engine answers."""
    try:
        return subprocess.run(
            ["docker", "version"], env=environment, capture_output=True, text=True, check=False
        ).stderr
    except OSError:
        return ""


def check_version(engine: str, buildx: str | None) -> None:
    """Stop with one sentence if engine or buildx is too old for the Dockerfile."""
    if numbers(engine) < OLDEST:
        fail(f"Docker Engine {engine} is too old for this Dockerfile: {HOW}.")
    found = re.search(r"\d+\.\d+\.\d+", buildx or "")
    if not found or numbers(found.group()) < OLDEST_BUILDX:
        fail(
            f"docker has {'buildx ' + found.group() if found else 'no buildx'}: install 0.19 or "
            "newer, from Docker's package docker-buildx-plugin or Debian's docker-buildx."
        )


def connect() -> Environment:
    """Return the environment for `docker`. Ends the program with one sentence without an engine."""
    environment = dict(os.environ)
    found = version(environment)
    if not found and "permission denied" in complaint(environment):
        fail(
            "the Docker Engine does not let this user in: add it to the group docker (`sudo "
            "usermod --append --groups docker $USER`, then log in again)."
        )
    if not found and (os.environ.get("DOCKER_HOST") or shutil.which("dockerd")):
        where = os.environ.get("DOCKER_HOST") or "this machine"
        fail(f"the Docker Engine of {where} does not answer: start it (`systemctl start docker`).")
    if not found:
        fail(f"no Docker Engine answers: {HOW}.")
    say(f"Engine: Docker {found}")
    check_version(found, quiet(["docker", "buildx", "version"], environment))
    return environment


def base_image() -> str:
    """Return the base image to build on: BASE_IMAGE, or the Dockerfile's."""
    named = os.environ.get("BASE_IMAGE")
    image = named or argument("BASE_IMAGE")
    say(f"Base: {image}{', as BASE_IMAGE says' if named else ''}")
    return image
