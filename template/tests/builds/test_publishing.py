"""The workflow runs with act on stub wheels: a commit on main, a tag and a pull request.

It runs on an engine with containerd's image store, and with a registry. The private engine stops
while they run.
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
from torchcrate import ci, host

# A part of the contract. Other tests hold all of it against such an image.
SOME = "--stub -q -k 'test_default_python or test_slim'"
TAGS = "{version}-{build} {build} {build}-{digest}"

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def private(engine, quiet):
    """Return the private engine, as a machine."""
    if os.environ.get("DOCKER_HOST") != f"unix://{engine_script.folder()}/docker.sock":
        pytest.skip("this machine has a Docker Engine of its own, which would have to stop")
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
def project(stub_projects):
    """Return the stub project. Its workflow does not lint, nor run the template's tests."""
    folder = stub_projects["cpu"].folder
    workflow = folder / ".github/workflows/ci.yml"
    text = workflow.read_text()
    workflow.write_text(re.sub(r"run: \./crate (lint|test-fast)", "run: 'true'", text))
    yield folder
    workflow.write_text(text)


@pytest.fixture(scope="module")
def environment(top, registry, project, private, base_image, stub_projects):
    """Return the environment of the workflow's jobs, and the machine that they run on."""
    base = machines.base_image(top, registry, private, base_image)
    generator = ci_here.sbom_generator(top, registry, base, private)
    engine_script.stop(private.top / private.name)
    machine = machines.Machine(top, "main")
    machine.start()
    found = ci_here.settings(top, machine, registry, base) | {
        **{"SBOM_GENERATOR": generator, "PYTEST_ADDOPTS": SOME, "TORCH_BUILD": "cpu"},
        **{"REPOSITORY": f"{registry.host}/{ci_here.NAME}", "GITHUB_REF_NAME": f"v{version()}"},
        "WHEELS": stub_projects["cpu"].arguments[0].partition("wheels=")[2],
    }
    return found, machine


@pytest.fixture(scope="module")
def machine(environment):
    return environment[1]


@pytest.fixture(scope="module")
def repository(environment):
    return environment[0]["REPOSITORY"].lower()


@pytest.fixture(scope="module")
def workflow(top, project, environment):
    """Return a function that runs the workflow for an event and returns what act printed."""

    def run(event):
        return ci_here.run(top, event, environment[0], "cpu", project)[1]

    return run


@pytest.fixture(scope="module")
def step(project, environment):
    """Return a function that runs a step and returns (exit code, output)."""

    def run(*words, **more):
        command = [sys.executable, "crate", "step", *words]
        how = {"cwd": project, "env": environment[0] | more, "text": True}
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **how)
        return done.returncode, done.stdout

    return run


@pytest.fixture(scope="module")
def bake(project, environment):
    """Return a function that bakes the image as the workflow does, and returns its digest."""

    def run(*options):
        text = (host.TOP / ".github/workflows/images.yml").read_text()
        (output,) = re.findall(r'"(\*\.output=.+)"$', text, re.MULTILINE)
        file = project / "reports" / "baked.json"
        file.parent.mkdir(exist_ok=True)
        command = ["docker", "buildx", "bake", "--allow=fs=*", f"--set={output}"]
        command += [f"--metadata-file={file}", *options, "cpu"]
        subprocess.run(command, cwd=project, env=environment[0], check=True)
        return json.loads(file.read_text())["cpu"]["containerimage.digest"]

    return run


@pytest.fixture(scope="module")
def on_main(workflow):
    """Return what act printed for a commit on main, which writes the cache."""
    return workflow(ci_here.MAIN)


@pytest.fixture(scope="module")
def tag(on_main, workflow):
    """Return what act printed for a tag, which publishes."""
    return workflow(ci_here.TAG)


@pytest.fixture(scope="module")
def facts(tag, top):
    """Return what the job noted of the image that it pushed."""
    return json.loads((top / "artifacts/pushed-cpu-X64/pushed.json").read_text())


def version():
    return build_script.version()


def inspect(machine, name, what):
    words = ("buildx", "imagetools", "inspect", "--format", f"{{{{json .{what}}}}}", name)
    return json.loads(machine.docker(*words))


def test_main_publishes_nothing(on_main, machine, repository):
    assert "✅  Success - Main Hold the contract against the image" in on_main
    assert "Main Push the image" not in on_main
    with pytest.raises(SystemExit, match="not found"):
        inspect(machine, f"{repository}:cpu", "Manifest")


def test_pushed_is_tested(tag, facts, machine, repository):
    tested = re.findall(r"crate contract .*\n|sha256:[0-9a-f]{64}", tag)
    assert facts["digest"] in tested
    name = f"{repository}:cpu-{facts['architecture']}-{facts['digest'][7:19]}"
    assert f"Pushed {name}" in tag
    assert inspect(machine, name, "Manifest")["digest"] == facts["digest"]


def test_layers_are_zstd(machine, facts, repository):
    first = machine.docker("buildx", "imagetools", "inspect", "--raw", f"{repository}:cpu")
    image = json.loads(first)["manifests"][0]["digest"]
    raw = machine.docker("buildx", "imagetools", "inspect", "--raw", f"{repository}@{image}")
    kinds = [layer["mediaType"].rpartition("+")[2] for layer in json.loads(raw)["layers"]]
    assert set(kinds[1:]) == {"zstd"}  # the base image's layers stay as they are


def test_sbom_lists_packages(machine, facts, repository, project):
    listed = {
        (ci.normalize(package["name"]), package.get("versionInfo"))
        for package in inspect(machine, f"{repository}:cpu", "SBOM")["SPDX"]["packages"]
    }
    lock = (project / "locks/torch.cpu.txt").read_text()
    torch = re.search(r"^torch===?([^\s\\;]+)", lock, re.MULTILINE).group(1)
    assert ("torch", torch) in listed
    assert {"numpy", "matplotlib"} <= {name for name, _ in listed}


def test_published_tags(tag, facts, machine, repository, top, environment):
    digest = facts["digest"]
    for name in (f"{version()}-cpu", "cpu", f"cpu-{digest[7:19]}"):
        assert inspect(machine, f"{repository}:{name}", "Manifest")["digest"] == digest
    release = (top / "artifacts/release/release.md").read_text()
    base = environment[0]["BASE_IMAGE"].partition("/")[2]
    assert re.search(rf"`{version()}-cpu` \| .*{base}@sha256:[0-9a-f]{{64}}` .*`{digest}`", release)
    assert re.search(r"^Built with BuildKit v\d+\.\d+\.\d+\S*\.$", release, re.MULTILINE)


def test_two_architectures(facts, bake, step, machine, repository, project, environment):
    """The second image is another one of this machine's, noted as Arm's."""
    module = project / "src" / "another.py"
    module.write_text("SECRET = 2\n")
    sbom = f"--sbom=generator={environment[0]['SBOM_GENERATOR']}"
    try:
        digest = bake(sbom, "--provenance=mode=max")
    finally:
        module.unlink()
    code, output = step("push", DIGEST=digest)
    assert code == 0, output
    other = json.loads((project / "reports/pushed.json").read_text())
    assert other["digest"] == digest
    for name, found in (("amd64", facts), ("arm64", other)):
        (project / "reports/both" / name).mkdir(parents=True)
        note = json.dumps(found | {"architecture": name})
        (project / "reports/both" / name / "pushed.json").write_text(note)
    code, output = step("publish", "reports/both", *TAGS.split())
    assert code
    assert f"ERROR: {repository}:{version()}-cpu is published already, and another" in output
    # The next version.
    pyproject = project / "pyproject.toml"
    before = pyproject.read_text()
    pyproject.write_text(before.replace(f'version = "{version()}"', 'version = "9.9"', 1))
    try:
        code, output = step("publish", "reports/both", *TAGS.split(), GITHUB_REF_NAME="v9.9")
    finally:
        pyproject.write_text(before)
    assert code == 0, output
    index = machine.docker("buildx", "imagetools", "inspect", "--raw", f"{repository}:9.9-cpu")
    digests = {manifest["digest"] for manifest in json.loads(index)["manifests"]}
    for found in (facts, other):
        name = f"{repository}@{found['digest']}"
        raw = machine.docker("buildx", "imagetools", "inspect", "--raw", name)
        assert {manifest["digest"] for manifest in json.loads(raw)["manifests"]} <= digests
    assert "| amd64, arm64 |" in (project / "reports/release.md").read_text()
    assert (project / "reports/published.txt").read_text().startswith(f"{repository}@sha256:")


def test_another_version_is_refused(facts, step, top):
    code, output = step("publish", top / "artifacts", *TAGS.split(), GITHUB_REF_NAME="v99.0")
    assert code
    assert "ERROR: the tag is v99.0, but pyproject.toml has version " in output


def test_an_image_that_was_not_pushed_is_refused(facts, step, project):
    wrong = project / "reports/wrong"
    wrong.mkdir(parents=True)
    (wrong / "pushed.json").write_text(json.dumps(facts | {"digest": f"sha256:{'0' * 64}"}))
    code, output = step("publish", wrong, *TAGS.split())
    assert code
    assert "is not in the registry: run `./crate step push`" in output


@pytest.mark.parametrize("lacks", ["SBOM", "provenance"])
def test_without_attestations_it_fails(facts, bake, step, environment, lacks):
    options = {
        "SBOM": ["--provenance=mode=max", "--sbom=false"],
        "provenance": [
            f"--sbom=generator={environment[0]['SBOM_GENERATOR']}",
            "--provenance=false",
        ],
    }
    code, output = step("push", DIGEST=bake(*options[lacks]))
    assert code
    assert f"has no {lacks}: set `{lacks.lower()}`" in output


@pytest.fixture
def empty(facts, machine):
    """Return the machine, with nothing on it anymore."""
    machine.docker("system", "prune", "--all", "--force", "--volumes")
    assert machine.docker("image", "ls", "--quiet") == ""
    return machine


def test_another_machine_makes_the_same_layers(empty, bake, facts, repository):
    """Built without the cache, all layers are those in the registry."""
    first = inspect(empty, f"{repository}@{facts['digest']}", "Image")["rootfs"]["diff_ids"]
    words = ("image", "inspect", "--format", "{{json .RootFS.Layers}}", bake())
    assert json.loads(empty.docker(*words)) == first


def test_a_pull_request_reads_the_cache_and_writes_nothing(empty, workflow, repository):
    cache = f"{repository}/cache:cpu-amd64"
    before = inspect(empty, cache, "Manifest")["digest"]
    output = workflow(ci_here.PULL_REQUEST)  # fails unless torch comes from the cache
    assert "[settled 1/1]" in output
    assert "exporting cache" not in output
    assert "Main Push the image" not in output
    assert inspect(empty, cache, "Manifest")["digest"] == before
