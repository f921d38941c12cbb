"""The steps of the workflows on stub wheels: the cache out and in again, tested, pushed, published.

On an engine with containerd's image store and a registry, for which the private engine makes way.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from template import ci_here, machines
from template import engine as engine_script
from torchcrate import build as build_script
from torchcrate import ci

# A part of the contract, to have tests that pass: contract/ holds all of it against such an image.
PROMISES = "--stub -q -k 'test_python or test_none_of'"

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def private(engine, quiet):
    """Return the private engine, as a machine."""
    if os.environ.get("DOCKER_HOST") != f"unix://{engine_script.folder()}/docker.sock":
        pytest.skip("this machine has a Docker Engine of its own; its two would be in the way")
    folder = engine_script.folder()
    return machines.Machine(folder.parent, folder.name, dict(os.environ))


@pytest.fixture(scope="module")
def top(private):
    """Return a folder for an engine and a registry."""
    top = Path(tempfile.mkdtemp(prefix="image-test.", dir="/var/tmp"))
    (top / "root").symlink_to(private.top / private.name / "root")
    yield top
    machines.Machine(top, "main").remove()
    shutil.rmtree(top)
    engine_script.up()


@pytest.fixture(scope="module")
def registry(top):
    registry = machines.Registry(top)
    registry.start()
    yield registry
    registry.stop()


@pytest.fixture(scope="module")
def environment(top, registry, stub_projects, index_url, private, base_image):
    """Return what the workflow sets, but for what differs from job to job."""
    base = machines.base_image(top, registry, private, base_image)
    return {
        **{"BUILD": "cpu", "BASE_IMAGE": base, "INDEX_URL": index_url, "PYTEST_ARGS": PROMISES},
        **{"REPOSITORY": f"{registry.host}/Me/Project", "GITHUB_REF_NAME": tag(stub_projects)},
        "CACHE": f"{registry.host}/Me/Project/cache",
        "SBOM_GENERATOR": ci_here.sbom_generator(top, registry, base, private),
        "WHEELS": stub_projects["cpu"].arguments[0].partition("wheels=")[2],
    }


def tag(stub_projects):
    text = (stub_projects["cpu"].folder / "pyproject.toml").read_text()
    return "v" + re.search(r'^version = "(.+)"', text, re.MULTILINE).group(1)


@pytest.fixture(scope="module")
def job(top, stub_projects, environment):
    """Return a function that runs steps on a machine and returns (exit code, output)."""

    def run(machine, *steps, **more):
        where = {**os.environ, **machine.environment, **environment, **more}
        output = ""
        for step in steps:
            command = [sys.executable, "crate", "step", *step.split()]
            done = subprocess.run(
                command,
                cwd=stub_projects["cpu"].folder,
                env=where,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            output += done.stdout
            if done.returncode:
                return done.returncode, output
        return 0, output

    return run


@pytest.fixture(scope="module")
def main(job, top, private):
    """Return the machine of a job on main, and what its steps said: built, tested, pushed.

    The private engine makes way for it.
    """
    engine_script.stop(private.top / private.name)
    machine = machines.Machine(top, "main")
    machine.start()
    code, output = job(machine, "store", "image", "test", "push", CACHE_WRITE="yes")
    assert code == 0, output
    return machine, output


@pytest.fixture(scope="module")
def folder(stub_projects):
    return stub_projects["cpu"].folder / "reports"


def inspect(machine, name, what):
    words = ("buildx", "imagetools", "inspect", "--format", f"{{{{json .{what}}}}}", name)
    return json.loads(machine.docker(*words))


def test_what_is_pushed_is_what_was_tested(main, environment, folder):
    machine, output = main
    facts = json.loads((folder / "tested.json").read_text())
    name = (
        f"{environment['REPOSITORY'].lower()}:cpu-{facts['architecture']}-{facts['digest'][7:19]}"
    )
    assert f"Pushed {name}" in output
    assert inspect(machine, name, "Manifest")["digest"] == facts["digest"]
    assert facts["tests"]["passed"] > 20 and not facts["tests"]["failed"]


def test_layers_are_packed_with_zstd(main, environment, folder):
    machine, _ = main
    facts = json.loads((folder / "tested.json").read_text())
    name = f"{environment['REPOSITORY'].lower()}@{facts['digest']}"
    first = machine.docker("buildx", "imagetools", "inspect", "--raw", name)
    image = json.loads(first)["manifests"][0]["digest"]
    repository = environment["REPOSITORY"].lower()
    raw = machine.docker("buildx", "imagetools", "inspect", "--raw", f"{repository}@{image}")
    kinds = [layer["mediaType"].rpartition("+")[2] for layer in json.loads(raw)["layers"]]
    assert set(kinds[1:]) == {"zstd"}  # the base image's are as it has them


def test_the_sbom_lists_the_python_packages(main, environment, folder, stub_projects):
    machine, _ = main
    facts = json.loads((folder / "tested.json").read_text())
    name = f"{environment['REPOSITORY'].lower()}@{facts['digest']}"
    listed = {
        (ci.normalize(package["name"]), package.get("versionInfo"))
        for package in inspect(machine, name, "SBOM")["SPDX"]["packages"]
    }
    lock = (stub_projects["cpu"].folder / "locks/torch.cpu.txt").read_text()
    torch = re.search(r"^torch===?([^\s\\;]+)", lock, re.MULTILINE).group(1)
    assert ("torch", torch) in listed
    assert {"numpy", "matplotlib"} <= {name for name, _ in listed}


def test_the_summary_says_what_was_built(main, job):
    machine, _ = main
    code, output = job(machine, "summary")
    assert code == 0, output
    assert re.search(r"^Tests: \d+ passed, 0 failed", output, re.MULTILINE)
    assert re.search(r"^torch \S+, Python 3\.11\.\d+, .+ Python packages: `sha256:", output, re.M)


def test_published_under_version_build_and_digest(main, job, environment, folder):
    machine, _ = main
    (folder / "tested").mkdir()
    shutil.copy(folder / "tested.json", folder / "tested")
    code, output = job(machine, "publish reports/tested")
    assert code == 0, output
    digest = json.loads((folder / "tested.json").read_text())["digest"]
    repository = environment["REPOSITORY"].lower()
    version = environment["GITHUB_REF_NAME"].removeprefix("v")
    for name in (f"{version}-cpu", "cpu", f"cpu-{digest[7:19]}"):
        assert inspect(machine, f"{repository}:{name}", "Manifest")["digest"] == digest
    assert (folder / "published.txt").read_text() == f"{repository}@{digest}\n"
    release = (folder / "release.md").read_text()
    base = environment["BASE_IMAGE"].partition("/")[2]
    assert re.search(rf"`{version}-cpu` \| .*{base}@sha256:[0-9a-f]{{64}}` .*`{digest}`", release)


def test_two_architectures_become_one_image(main, job, environment, folder, stub_projects):
    """The second is another image of this machine's, noted as Arm's."""
    machine, _ = main
    note = (folder / "tested.json").read_text()
    project = stub_projects["cpu"].folder
    module = project / "src" / "another.py"
    module.write_text("SECRET = 2\n")
    try:
        code, output = job(machine, "image", "test", "push")
        assert code == 0, output
        other = json.loads((folder / "tested.json").read_text())
    finally:
        module.unlink()
        (folder / "tested.json").write_text(note)
    for name, facts in (("amd64", json.loads(note)), ("arm64", other)):
        (folder / "both" / name).mkdir(parents=True)
        facts["architecture"] = name
        (folder / "both" / name / "tested.json").write_text(json.dumps(facts))
    repository = environment["REPOSITORY"].lower()
    version = environment["GITHUB_REF_NAME"].removeprefix("v")
    code, output = job(machine, "publish reports/both")
    assert code
    assert f"ERROR: {repository}:{version}-cpu is published already, and another image" in output
    # The next version, in the repository that has both: nothing is copied to another one.
    pyproject = project / "pyproject.toml"
    before = pyproject.read_text()
    pyproject.write_text(before.replace(f'version = "{version}"', 'version = "9.9"', 1))
    try:
        code, output = job(machine, "publish reports/both", GITHUB_REF_NAME="v9.9")
    finally:
        pyproject.write_text(before)
    assert code == 0, output
    index = machine.docker("buildx", "imagetools", "inspect", "--raw", f"{repository}:9.9-cpu")
    digests = {manifest["digest"] for manifest in json.loads(index)["manifests"]}
    for facts in (json.loads(note), other):
        name = f"{repository}@{facts['digest']}"
        raw = machine.docker("buildx", "imagetools", "inspect", "--raw", name)
        assert {manifest["digest"] for manifest in json.loads(raw)["manifests"]} <= digests
    assert "| amd64, arm64 |" in (folder / "release.md").read_text()


def test_a_version_that_the_project_does_not_have_is_refused(main, job):
    machine, _ = main
    code, output = job(machine, "publish reports/tested", GITHUB_REF_NAME="v99.0")
    assert code
    assert "ERROR: the tag is v99.0, and pyproject.toml has version " in output


def test_an_image_that_was_not_tested_is_refused(main, job, stub_projects):
    """One is built anew after the tests; another has a note and never came to the registry."""
    machine, _ = main
    project = stub_projects["cpu"].folder
    module = project / next(iter(build_script.code(project))) / "not_tested.py"
    module.write_text("SECRET = 1\n")
    try:
        code, output = job(machine, "image", "push")
    finally:
        module.unlink()
    assert code
    assert re.search(r"ERROR: \S+:cpu is sha256:\w+, and sha256:\w+ was tested: run", output)
    note = json.loads((project / "reports/tested.json").read_text())
    wrong = project / "reports/wrong"
    wrong.mkdir()
    (wrong / "tested.json").write_text(json.dumps(note | {"digest": f"sha256:{'0' * 64}"}))
    code, output = job(machine, "publish reports/wrong")
    assert code
    assert "was tested and is not in the registry" in output


def test_without_an_sbom_it_is_not_pushed(main, job):
    machine, _ = main
    code, output = job(machine, "image", "test", "push", SBOM_GENERATOR="")
    assert code
    assert "has no SBOM: set SBOM_GENERATOR when it is built." in output


@pytest.fixture
def empty(main):
    """Return the machine, with nothing on it anymore."""
    machine, _ = main
    machine.docker("system", "prune", "--all", "--force", "--volumes")
    assert machine.docker("image", "ls", "--quiet") == ""
    return machine


def test_another_machine_makes_the_same_layers(job, empty, environment, folder):
    """From nothing, without the cache: all layers but the code's are those in the registry."""
    facts = json.loads((folder / "tested.json").read_text())
    name = f"{environment['REPOSITORY'].lower()}@{facts['digest']}"
    first = inspect(empty, name, "Image")["rootfs"]["diff_ids"]
    code, output = job(empty, "image", SBOM_GENERATOR="", CACHE="")
    assert code == 0, output
    tag = f"{build_script.image_name()}:cpu"
    words = ("image", "inspect", "--format", "{{json .RootFS.Layers}}", tag)
    assert json.loads(empty.docker(*words))[:-1] == first[:-1]


def test_a_pull_request_takes_torch_from_the_cache_and_writes_nothing(job, empty, environment):
    cache = f"{environment['CACHE'].lower()}:cpu-{ci.architecture()}"
    before = inspect(empty, cache, "Manifest")["digest"]
    code, output = job(empty, "image", SBOM_GENERATOR="")
    assert code == 0, output
    (number,) = re.findall(r"^#(\d+) \[torch 1/1\]", output, re.MULTILINE)
    assert f"#{number} CACHED" in output
    assert "[builder 1/1]" in output and "exporting cache" not in output
    assert inspect(empty, cache, "Manifest")["digest"] == before
