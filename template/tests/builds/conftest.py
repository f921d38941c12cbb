"""Build images that are broken on purpose, and hold them to the contract, in the background."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace

import docker
import pytest

from template import cache
from template.tests import mutations
from template.tests.ahead import Background, build_image
from template.tests.common import PATCHING, Result, unpatched
from template.tests.edits import Mutation, together


@pytest.fixture(scope="session", autouse=True)
def broken_ahead(request: pytest.FixtureRequest) -> None:
    """Begin to build broken images before the first test of builds."""
    if broken_ones(request):
        with suppress(Exception, pytest.fail.Exception):  # its test raises it again
            request.getfixturevalue("broken")


def broken_ones(request: pytest.FixtureRequest) -> dict[str, list[Mutation]]:
    """Return the chosen tests' mutations, by stage."""
    found: dict[str, list[Mutation]] = {}
    for item in request.session.items:
        if hasattr(item, "callspec") and "mutation" in item.callspec.params:
            stage, mutation = (item.callspec.params[name] for name in ("stage", "mutation"))
            found.setdefault(stage, []).append(mutation)
    return found


@pytest.fixture(scope="session")
def broken_cache() -> set[str]:
    """Return the records that broken images leave in the build cache: gigabytes in total."""
    return set()


@pytest.fixture(scope="session")
def broken(
    request: pytest.FixtureRequest,
    background: Background,
    docker_build: Callable[..., Result],
    fork_cache: set[str],
    broken_cache: set[str],
    hold: Callable[..., dict[str, str]],
    engine: docker.DockerClient,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[tuple[str, str], Future[dict[str, str]]]]:
    """Return {(stage, what is broken): future of {test: why it failed}}."""
    alone = request.config.getoption("--one-by-one")
    images = [
        (stage, image)
        for stage, some in broken_ones(request).items()
        for image in ([[each] for each in some] if alone else together(some, mutations.SEVERAL))
    ]
    projects = {False: request.getfixturevalue("stub_projects")["gpu"]}
    if any(image[0].real for _, image in images):
        projects[True] = request.getfixturevalue("cpu_project")
    parent = tmp_path_factory.mktemp("broken")

    def run(number: int, stage: str, image: list[Mutation]) -> dict[str, str]:
        project = replace(projects[image[0].real], folder=parent / str(number))
        shutil.copytree(projects[image[0].real].folder, project.folder, symlinks=True)
        with PATCHING:
            for edit in (edit for mutation in image for edit in mutation.edits):
                edit(project.folder, project.dockerfile)
        spoilt = build_image(docker_build, project, stage, f"broken-{number}", records=broken_cache)
        for command in filter(None, (mutation.after for mutation in image)):
            subprocess.run(command, shell=True, cwd=project.folder, env=unpatched(), check=True)
        tests = dict.fromkeys(mutation.noticed for mutation in image)
        found = hold(spoilt, image[0].real, *tests)
        engine.images.remove(spoilt.tag, force=True)
        return found

    futures = {}
    for number, (stage, image) in enumerate(images):
        future = background.submit(run, number, stage, image)
        futures |= {(stage, mutation.broken): future for mutation in image}
    yield futures
    background.end()
    cache.uncache(dict(os.environ), broken_cache - fork_cache)
