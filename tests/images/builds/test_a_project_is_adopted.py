"""A project that was there before is adopted by the documented commands, and the images build it.

Torch is a stub. The three layouts differ in what the Dockerfile copies, so one of them is taken the
whole way, with its own tools and tests.
"""

import os
import re
import subprocess
from functools import partial

import pytest

import existing
import wheelhouse
from images import REPOSITORY, TOP, Image, unpatched

pytestmark = pytest.mark.template


def make(folder, *arguments):
    """Run make in a folder and return what it prints."""
    command = ["make", *arguments]
    done = subprocess.run(command, cwd=folder, env=unpatched(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def use_these_tools(folder):
    """Spare a project the time in which it sets up the tools that are here already."""
    if not (folder / ".tools").exists():
        (folder / ".tools").symlink_to(TOP / ".tools")
    for file in (folder / "locks").glob("*.txt"):  # no newer than the tools
        os.utime(file, (0, 0))


# What `dev` promises of a project that is in the images in its own way.
HELD = "dev/test_torch_is_held.py::"
OF_DEV = (
    *("dev/test_the_lock_leaves_nothing_to_do.py", "torch/test_the_image_is_the_locks.py"),
    "dev/test_poetry_uses_the_venv.py::test_the_lock_is_up_to_date",
    *(f"{HELD}test_poetry_leaves_it_alone", f"{HELD}test_imports_come_from_the_workspace"),
)


def adopt(layout, tmp_path):
    """Make a project of a layout, adopt it and make its locks.

    Return the project's folder and the folders of its stub wheels, by build.
    """
    folder = tmp_path / layout
    existing.write(folder, existing.LAYOUTS[layout])
    said = make(TOP, "adopt", f"INTO={folder}", f"BUILD={existing.GPU}")
    run = ["-f", "image.mk"] if (folder / "image.mk").exists() else []
    assert f"make {' '.join([*run, 'lock'])} BUILD={existing.GPU}\n" in said
    if layout != "flat":
        use_these_tools(folder)
    make(folder, *run, "lock", f"BUILD={existing.GPU}")
    use_these_tools(folder)
    wheels = {build: tmp_path / build for build in (existing.GPU, "cpu")}
    wheelhouse.family(folder, "cpu", wheels["cpu"])
    make(folder, *run, "lock", "BUILD=cpu", f"WHEELS={wheels['cpu']}")
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
def test_a_flat_package_all_the_way(locked, build_both, docker_run, hold):
    folder, wheels = locked
    gpu = existing.GPU
    assert make(folder, "test") == "their test\n"
    images = build_both(folder, wheels)
    for build, image in images.items():
        done = docker_run(image)
        assert (done.returncode, done.stdout) == (0, f"words on {existing.TORCH}+{build}\n"), (
            done.stderr
        )
    # By its own copy of the tests, in an environment that its own locks make.
    some = "-k 'test_torch_is or test_files or test_it_says'"
    options = f"PYTEST_ARGS=--stub -q -p no:cacheprovider --project={folder} {some}"
    tag = images[gpu].tag
    said = make(folder, "-f", "image.mk", "check", f"IMAGE={tag}", f"BUILD={gpu}", options)
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
        pytest.param("net on", "cpu", marks=pytest.mark.locked(partial(adopt, "scripts"))),
    ],
    ids=["src", "scripts"],
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
        "runtime/test_every_file_is_accounted_for.py::test_files_of_the_code",
        "runtime/test_it_runs_where_users_run_it.py::test_the_code_can_be_imported_from_anywhere",
    )
    found = hold(image, False, *code)
    assert found == dict.fromkeys(code, "")
