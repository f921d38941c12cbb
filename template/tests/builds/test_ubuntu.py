"""Images on Ubuntu, with its archive and the deadsnakes PPA, made here of Debian 12's packages.

Ubuntu's own archive may be out of reach. Every script sees an Ubuntu: its name, its sources, two
signed repositories with their origins, and a release candidate of Python 3.11 in the archive.
"""

import http.server
import shutil
import threading
from dataclasses import replace
from functools import partial

import pytest

from template.tests.builds.test_another_cuda import QuietHandler
from template.tests.common import REPOSITORY, TOP
from torchcrate.build import version
from torchcrate.testing.images import Image

pytestmark = pytest.mark.slow
RELEASES = {"jammy": "22.04", "noble": "24.04"}


@pytest.fixture(scope="module")
def ubuntu(request, engine, docker_build, tmp_path_factory):
    """Return the base image, the address of the repositories, and their folder."""
    if engine.info()["OperatingSystem"] == "Docker Desktop":
        pytest.skip("Docker Desktop's builds run in a virtual machine, which cannot reach this one")
    codename, release = request.param, RELEASES[request.param]
    folder = tmp_path_factory.mktemp("archives")
    tag = f"{REPOSITORY}:ubuntu-{release}"
    given = (f"--build-arg=CODENAME={codename}", f"--build-arg=RELEASE={release}")
    for more in (("--target=archives", f"--output=type=local,dest={folder}"), (f"--tag={tag}",)):
        done = docker_build(TOP / "template/tests/ubuntu", *given, *more)
        assert done.code == 0, done.output
    (config,) = engine.networks.get("bridge").attrs["IPAM"]["Config"][:1]
    handler = partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer((config["Gateway"], 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tag, f"http://{config['Gateway']}:{server.server_port}", folder
        server.shutdown()
    engine.images.remove(tag, force=True)


@pytest.fixture(scope="module")
def build(ubuntu, stub_projects, docker_build, tmp_path_factory):
    """Return a function that builds a stage of the GPU's stub project, and the project."""
    tag, url, folder = ubuntu
    project = replace(stub_projects["gpu"], folder=tmp_path_factory.mktemp("ubuntu") / "project")
    shutil.copytree(stub_projects["gpu"].folder, project.folder, symlinks=True)
    key = project.folder / "torchcrate/stages/base/deadsnakes.asc"
    key.write_bytes((folder / "deadsnakes.asc").read_bytes())

    def run(stage, *more, ppa="ppa", archive="ubuntu"):
        given = (f"--build-arg=BASE_IMAGE={tag}", f"--build-arg=APT_MIRROR={url}/{archive}")
        given += (f"--build-arg=PPA_URL={url}/{ppa}", f"--target={stage}", *project.arguments)
        return docker_build(project.folder, *given, *more)

    return run, project


@pytest.mark.parametrize(
    ("ubuntu", "stage"),
    [("jammy", "runtime"), ("jammy", "dev"), ("noble", "runtime")],
    indirect=["ubuntu"],
)
def test_contract(ubuntu, build, hold, engine, stage):
    run, project = build
    name = f"{REPOSITORY}:on-{ubuntu[0].partition(':')[2]}-{stage}"
    done = run(stage, f"--tag={name}", f"--build-arg=VERSION={version()}")
    assert done.code == 0, done.output
    given = (f"BASE_IMAGE={ubuntu[0]}",)
    image = Image(name, stage, project.build, project.folder, given)
    found = hold(image, False, *{"runtime": ("base", "torch", "runtime"), "dev": ("dev",)}[stage])
    engine.images.remove(name, force=True)
    assert {test: said for test, said in found.items() if said} == {}


@pytest.mark.parametrize("ubuntu", ["jammy", "noble"], indirect=True)
@pytest.mark.parametrize("ppa", ["empty", "stranger", "nothing"])
def test_another_ppa(build, ppa):
    """Without the PPA's Python, the archive's release candidate does not get in."""
    done = build[0]("base", ppa=ppa)
    assert done.code
    assert "did not give a Python 3.11 package" in done.sentence
    assert "build with --build-arg BASE_IMAGE=" in done.sentence


@pytest.mark.parametrize("ubuntu", ["jammy"], indirect=True)
def test_newer_in_the_archive(build):
    """The PPA's patch release is taken, though the archive has a later one."""
    done = build[0]("base", archive="newer")
    assert done.code == 0, done.output
    assert "3.11.99" not in done.output


@pytest.mark.parametrize("ubuntu", ["jammy"], indirect=True)
def test_missing_package(build):
    run, project = build
    listed = project.folder / "apt/runtime.txt"
    before = listed.read_text()
    listed.write_text(f"{before}no-such-package\n")
    done = run("venv")
    listed.write_text(before)
    assert done.code
    assert "apt cannot install what apt/builder.txt or apt/runtime.txt names" in done.sentence
