"""The documented commands bring the images into an existing project, and build it.

Torch is a stub. The three layouts differ only in what the Dockerfile copies, so all tests run on
one of them, with its own tools and tests.
"""

import re
import subprocess
from functools import partial

import pytest

from template.tests import existing, wheelhouse
from template.tests.common import REPOSITORY, TOP, unpatched
from torchcrate.testing.images import Image

pytestmark = pytest.mark.template


def crate(folder, *arguments):
    """Run a command of ./crate in a folder and return what it prints."""
    command = ["./crate", *arguments]
    done = subprocess.run(command, cwd=folder, env=unpatched(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# What `dev` promises about a project with another layout.
HELD = "dev/test_held_torch.py::"
OF_DEV = (
    *("dev/test_lock_is_installed.py", "torch/test_locked_packages.py"),
    "dev/test_poetry.py::test_lock_up_to_date",
    *(f"{HELD}test_poetry", f"{HELD}test_workspace_imports"),
)


def adopt(layout, tmp_path):
    """Make a project with a layout, adopt it and make its locks.

    Return the project's folder and the folders of its stub wheels, by build.
    """
    folder = tmp_path / layout
    existing.write(folder, {**existing.LAYOUTS, "optional": existing.OPTIONAL}[layout])
    said = crate(TOP, "adopt", f"--into={folder}", f"--build={existing.GPU}")
    assert f"  ./crate lock --build {existing.GPU}\n" in said
    if layout != "flat":  # flat sets up its own
        (folder / ".tools").symlink_to(TOP / ".tools")
    crate(folder, "lock", f"--build={existing.GPU}")
    wheels = {build: tmp_path / build for build in (existing.GPU, "cpu")}
    wheelhouse.family(folder, "cpu", wheels["cpu"])
    crate(folder, "lock", "--build=cpu", f"--wheels={wheels['cpu']}")
    wheelhouse.stub(folder, existing.GPU, wheels[existing.GPU])
    existing.commit(folder)
    return folder, wheels


@pytest.fixture
def build_both(docker_build, engine):
    """Return a function that builds a stage with both Dockerfiles, or with one."""
    tags = []

    def build(folder, wheels, stage="runtime", only=None):
        found = {}
        for name in [only] if only else wheels:
            dockerfile = "Dockerfile.cpu" if name == "cpu" else "Dockerfile"
            version = re.search(r'(?m)^version = "(.+)"', (folder / "pyproject.toml").read_text())
            tag = f"{REPOSITORY}:{folder.name}-{stage}-{name}"
            done = docker_build(
                folder,
                *(f"--file={dockerfile}", f"--target={stage}", f"--tag={tag}"),
                f"--build-context=wheels={wheels[name]}",
                f"--build-arg=VERSION={version.group(1) if version else ''}",
            )
            assert done.code == 0, done.output
            tags.append(tag)
            found[name] = Image(tag, stage, name, folder)
        return found

    yield build
    for tag in tags:
        engine.images.remove(tag, force=True)


@pytest.mark.locked(partial(adopt, "flat"))
def test_flat_layout(locked, build_both, docker_run, hold):
    folder, wheels = locked
    gpu = existing.GPU
    images = build_both(folder, wheels)
    for build, image in images.items():
        done = docker_run(image)
        assert (done.returncode, done.stdout) == (0, f"words on {existing.TORCH}+{build}\n"), (
            done.stderr
        )
    # With its own copy of the tests, in an environment from its own locks.
    some = ("--stub", "-q", "-k", "test_torch_build or test_files or test_labels")
    said = crate(folder, "contract", images[gpu].tag, "--build", gpu, *some)
    assert re.search(r"\d\d passed", said), said
    dev = build_both(folder, wheels, "dev", only=gpu)[gpu]
    done = docker_run(dev, "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
    found = hold(dev, False, *OF_DEV)
    assert set(found.values()) == {""}, found


@pytest.mark.parametrize(
    ("says", "only"),
    [
        pytest.param("waves", existing.GPU, marks=pytest.mark.locked(partial(adopt, "src"))),
        pytest.param("net on", "cpu", marks=pytest.mark.locked(partial(adopt, "optional"))),
    ],
    ids=["src", "optional torch"],
)
def test_other_layouts(locked, build_both, docker_run, hold, says, only):
    folder, wheels = locked
    images = build_both(folder, wheels, only=only)
    for build, image in images.items():
        done = docker_run(image)
        assert (done.returncode, done.stdout) == (0, f"{says} {existing.TORCH}+{build}\n"), (
            done.stderr
        )
    code = (
        "runtime/test_files.py::test_code_files",
        "runtime/test_any_user.py::test_code_imports",
    )
    found = hold(image, False, *code)
    assert found == dict.fromkeys(code, "")
