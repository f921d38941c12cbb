"""Each promise of the contract can be broken: images spoilt on purpose turn a named test red.

tests/images/mutations.py has the table. For each line an image is built with that edit, and the
test is held against it in a pytest of its own. It must fail, and say what is wrong.
"""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import build as build_script
import mutations
from images import REPOSITORY, Image, Project

pytestmark = pytest.mark.mutation
TABLE = [(stage, mutation) for stage, found in mutations.STAGES.items() for mutation in found]


@pytest.fixture(scope="session")
def build_image(docker_build):
    """Return a function that builds a stage of a project, in a folder, and returns its tag."""

    def build(folder: Path, project: Project, stage: str, name: str) -> str:
        tag = f"{REPOSITORY}:{name}"
        done = docker_build(
            folder,
            *(f"--file={project.dockerfile}", f"--target={stage}", f"--tag={tag}"),
            *(f"--build-arg=VERSION={build_script.version()}", *project.arguments),
        )
        assert done.code == 0, done.output
        return tag

    return build


@pytest.fixture(scope="session")
def projects(request):
    """Return the projects that mutations are edits of: with stub wheels, with the real torch."""
    wanted = {item.callspec.params["mutation"].real for item in chosen(request)}
    found = {False: request.getfixturevalue("stub_projects")["gpu"]}
    return found | ({True: request.getfixturevalue("cpu_project")} if True in wanted else {})


def chosen(request):
    """Return the tests of mutations that are going to run."""
    items = [item for item in request.session.items if hasattr(item, "callspec")]
    return [item for item in items if "mutation" in item.callspec.params]


@pytest.fixture(scope="module")
def broken(request, projects, build_image, hold, engine, fork_cache, tmp_path_factory):
    """Return {(stage, what is broken): a future of {test: what failed it}}, two at a time."""
    parent, before = tmp_path_factory.mktemp("broken"), set(fork_cache)

    def run(number: int, stage: str, mutation: mutations.Mutation) -> dict[str, str]:
        project, folder = projects[mutation.real], parent / str(number)
        shutil.copytree(project.folder, folder, symlinks=True)
        for edit in mutation.edits:
            edit(folder, project.dockerfile)
        tag = build_image(folder, project, stage, f"broken-{number}")
        if mutation.after:
            subprocess.run(mutation.after, shell=True, cwd=folder, check=True)
        found = hold(Image(tag, stage, project.build, folder), mutation.real, mutation.noticed)
        engine.images.remove(tag, force=True)
        return found

    with ThreadPoolExecutor(max_workers=2) as pool:
        parameters = [item.callspec.params for item in chosen(request)]
        yield {
            (each["stage"], each["mutation"].broken): pool.submit(run, number, **each)
            for number, each in enumerate(parameters)
        }
        pool.shutdown(cancel_futures=True)  # after Ctrl-C
    build_script.uncache(dict(os.environ), fork_cache - before)  # gigabytes, all in all


@pytest.mark.parametrize("stage", mutations.STAGES)
def test_nothing_is_broken(projects, build_image, hold, stage):
    """Without any edit all those tests pass."""
    named = {mutation.noticed for mutation in mutations.STAGES[stage] if not mutation.real}
    project = projects[False]
    tag = build_image(project.folder, project, stage, f"unbroken-{stage}")
    found = hold(Image(tag, stage, project.build, project.folder), False, *sorted(named))
    assert {test.partition("[")[0] for test in found} == named
    assert set(found.values()) == {""}, found


@pytest.mark.parametrize(
    ("stage", "mutation"), TABLE, ids=[f"{stage}: {mutation.broken}" for stage, mutation in TABLE]
)
def test_it_is_noticed(broken, stage, mutation, record_property):
    record_property("mutation", f"{stage}: {mutation.broken}")
    record_property("noticed", mutation.noticed)
    said = [words for words in broken[stage, mutation.broken].result().values() if words]
    assert said, f"{mutation.noticed} did not notice"
    right = [words for words in said if mutation.says in words]
    assert right, f"it does not say {mutation.says!r} but:\n" + "\n".join(said)
    record_property("words", mutation.says)
