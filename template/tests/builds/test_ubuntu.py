"""Images on Ubuntu, with its archive and the deadsnakes PPA, made here of Debian 12's packages.

Ubuntu's own archive may be out of reach. Every script sees an Ubuntu: its name, its sources, two
signed repositories with their origins, and a release candidate of Python 3.11 in the archive.
"""

import http.server
import shutil
import ssl
import threading
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import pytest

from template.tests.builds.test_another_cuda import QuietHandler
from template.tests.common import REPOSITORY, TOP
from torchcrate import host
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
    (config,) = engine.networks.get("bridge").attrs["IPAM"]["Config"][:1]
    given = (f"--build-arg=CODENAME={codename}", f"--build-arg=RELEASE={release}")
    given += (f"--build-arg=ADDRESS={config['Gateway']}",)
    for more in (("--target=archives", f"--output=type=local,dest={folder}"), (f"--tag={tag}",)):
        done = docker_build(TOP / "template/tests/ubuntu", *given, *more)
        assert done.code == 0, done.output
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "server.crt", folder / "server.key")
    handler = partial(QuietHandler, directory=str(folder))
    with ExitStack() as ends:
        urls = []
        for scheme in ("http", "https"):
            server = http.server.ThreadingHTTPServer((config["Gateway"], 0), handler)
            ends.enter_context(server)
            if scheme == "https":
                server.socket = tls.wrap_socket(server.socket, server_side=True)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            ends.callback(server.shutdown)
            urls.append(f"{scheme}://{config['Gateway']}:{server.server_port}")
        yield tag, urls, folder
    engine.images.remove(tag, force=True)


@pytest.fixture(scope="module")
def build(ubuntu, docker_build):
    """Return a function that builds a stage of a project, with the PPA's key that is made here."""
    tag, (url, _), folder = ubuntu

    def run(project, stage, *more, ppa="ppa", archive="ubuntu", mirror=url):
        key = project.folder / "torchcrate/stages/base/deadsnakes.asc"
        key.write_bytes((folder / "deadsnakes.asc").read_bytes())
        given = (f"--build-arg=BASE_IMAGE={tag}", f"--build-arg=APT_MIRROR={mirror}/{archive}")
        given += (f"--build-arg=PPA_URL={url}/{ppa}", f"--target={stage}", *project.arguments)
        return docker_build(project.folder, *given, *more)

    return run


@pytest.fixture
def copied(tmp_path):
    """Return a function that copies a project."""

    def run(project):
        folder = tmp_path / "project"
        shutil.copytree(project.folder, folder, symlinks=True)
        return replace(project, folder=folder)

    return run


@pytest.fixture
def project(stub_projects, copied):
    """Return a copy of the GPU's stub project."""
    return copied(stub_projects["gpu"])


@pytest.mark.parametrize(
    ("ubuntu", "stage"),
    [("jammy", "runtime"), ("jammy", "dev"), ("noble", "runtime")],
    indirect=["ubuntu"],
)
def test_contract(ubuntu, build, project, hold, engine, stage):
    check(ubuntu, build, project, hold, engine, stage)


@pytest.mark.parametrize("ubuntu", ["jammy"], indirect=True)
def test_contract_with_torch(ubuntu, build, cpu_project, copied, hold, engine):
    """The same with the real torch for the CPU."""
    check(ubuntu, build, copied(cpu_project), hold, engine, "runtime", real=True)


def check(ubuntu, build, project, hold, engine, stage, real=False):
    """Build a stage, and hold the contract against it."""
    name = f"{REPOSITORY}:on-{ubuntu[0].partition(':')[2]}-{stage}"
    given = (f"--tag={name}", f"--build-arg=VERSION={version()}")
    if project.build == "cpu":
        given += ("--file=Dockerfile.cpu",)
    done = build(project, stage, *given)
    assert done.code == 0, done.output
    given = (f"BASE_IMAGE={ubuntu[0]}",)
    image = Image(name, stage, project.build, project.folder, given)
    found = hold(image, real, *{"runtime": ("base", "torch", "runtime"), "dev": ("dev",)}[stage])
    engine.images.remove(name, force=True)
    assert {test: said for test, said in found.items() if said} == {}


@pytest.mark.parametrize("ubuntu", ["jammy", "noble"], indirect=True)
@pytest.mark.parametrize("ppa", ["empty", "stranger", "nothing"])
def test_another_ppa(build, project, ppa):
    """Without the PPA's Python, the archive's release candidate does not get in."""
    done = build(project, "base", ppa=ppa)
    assert done.code
    assert "did not give a Python 3.11 package" in done.sentence
    assert "build with --build-arg BASE_IMAGE=" in done.sentence


@pytest.mark.parametrize("ubuntu", ["jammy"], indirect=True)
def test_newer_in_the_archive(build, project):
    """The PPA's patch release is taken, though the archive has a later one."""
    done = build(project, "base", archive="newer")
    assert done.code == 0, done.output
    assert "3.11.99" not in done.output


@pytest.mark.parametrize("ubuntu", ["jammy"], indirect=True)
def test_missing_package(build, project):
    listed = project.folder / "apt/runtime.txt"
    listed.write_text(f"{listed.read_text()}no-such-package\n")
    done = build(project, "venv")
    assert done.code
    assert "apt cannot install what apt/builder.txt or apt/runtime.txt names" in done.sentence


@pytest.mark.parametrize("ubuntu", ["jammy"], indirect=True)
@pytest.mark.parametrize("trusted", [True, False])
def test_https_mirror(ubuntu, build, project, tmp_path, trusted):
    """A mirror with a certificate of one's own, which the build secret `ca` has."""
    _, (_, mirror), folder = ubuntu
    bundle = host.ca_bundle().read_text() + (folder / "server.crt").read_text() * trusted
    (tmp_path / "ca.crt").write_text(bundle)
    secret = f"--secret=id=ca,src={tmp_path}/ca.crt"
    done = build(project, "base", secret, "--no-cache-filter=base", mirror=mirror)
    assert (done.code == 0) == trusted, done.output
    assert trusted or "certificate" in done.output
