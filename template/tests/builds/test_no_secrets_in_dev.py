"""`dev` has no secret either. For `runtime` the contract says so."""

from template.tests.common import REPOSITORY
from torchcrate.testing import layers
from torchcrate.testing.images import CANARY


def test_no_canary(stub_projects, docker_build, engine):
    project, tag = stub_projects["gpu"], f"{REPOSITORY}:dev-secrets"
    done = docker_build(project.folder, "--target=dev", f"--tag={tag}", *project.arguments)
    assert done.code == 0, done.output
    assert layers.read(tag, CANARY.encode()).canaries == []
    engine.images.remove(tag, force=True)
