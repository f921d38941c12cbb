"""A project that was there before is adopted by the documented commands, and the images build it.

Torch is a stub. The three layouts differ in what the Dockerfile copies, so one of them is taken the
whole way, with its own tools and tests.
"""

import os
import re
import subprocess
from functools import partial

import pytest

import build as build_script
import existing
import split_locks
import wheelhouse
from images import PATCHING, REPOSITORY, TOP, Image, unpatched


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


# What `dev` promises, the sample's left out.
CONTRACT = TOP / "tests" / "images" / "contract"
OF_DEV = [
    str(file.relative_to(CONTRACT))
    for file in sorted((CONTRACT / "dev").glob("test_*.py"))
    if not file.name.startswith("test_the_sample")
]


def adopt(layout, tmp_path):
    """Make a project of a layout, adopt it and make its locks.

    Return the project's folder, its GPU build and the folders of its stub wheels.
    """
    with PATCHING:
        folder, gpu = tmp_path / layout, build_script.default_gpu_build()
    existing.write(folder, existing.LAYOUTS[layout])
    said = make(TOP, "adopt", f"INTO={folder}", f"BUILD={gpu}")
    run = ["-f", "image.mk"] if (folder / "image.mk").exists() else []
    assert f"make {' '.join([*run, 'lock'])} BUILD={gpu}\n" in said
    if layout != "flat":
        use_these_tools(folder)
    make(folder, *run, "lock", f"BUILD={gpu}")
    use_these_tools(folder)
    poetry_lock = split_locks.read(folder / "poetry.lock")
    wheels = {gpu: tmp_path / "gpu", "cpu": tmp_path / "cpu"}
    for name in split_locks.ROOTS:
        for version in split_locks.versions(poetry_lock).get(name, ()):
            needs = wheelhouse.requirements(poetry_lock, name, "")
            wheelhouse.wheel(wheels["cpu"], name, f"{version}+cpu", "cpu", needs)
    make(folder, *run, "lock", "BUILD=cpu", f"WHEELS={wheels['cpu']}")
    wheelhouse.stub(folder, gpu, wheels[gpu])
    existing.commit(folder)
    return folder, gpu, wheels


@pytest.fixture
def build_both(docker_build, engine):
    """Return a function that builds a stage with both Dockerfiles and returns the images."""
    tags = []

    def build(folder, gpu, wheels, stage="runtime"):
        found = {}
        for name, dockerfile in ((gpu, "Dockerfile"), ("cpu", "Dockerfile.cpu")):
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
    folder, gpu, wheels = locked
    assert make(folder, "test") == "their test\n"
    images = build_both(folder, gpu, wheels)
    for build, image in images.items():
        done = docker_run(image)
        assert (done.returncode, done.stdout) == (0, f"words on 2.13.0+{build}\n"), done.stderr
    # By its own copy of the tests, in an environment that its own locks make.
    options = f"PYTEST_ARGS=--stub -q -p no:cacheprovider --project={folder}"
    tag = images[gpu].tag
    said = make(folder, "-f", "image.mk", "check", f"IMAGE={tag}", f"BUILD={gpu}", options)
    assert re.search(r"\d\d passed", said), said
    dev = build_both(folder, gpu, wheels, "dev")[gpu]
    done = docker_run(dev, "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
    found = hold(dev, False, *OF_DEV, "torch/test_the_image_is_the_locks.py")
    assert set(found.values()) == {""}, found


@pytest.mark.parametrize(
    "says",
    [
        pytest.param("waves", marks=pytest.mark.locked(partial(adopt, "src"))),
        pytest.param("net on", marks=pytest.mark.locked(partial(adopt, "scripts"))),
    ],
    ids=["src", "scripts"],
)
def test_other_layouts(locked, build_both, docker_run, hold, says):
    folder, gpu, wheels = locked
    images = build_both(folder, gpu, wheels)
    for build, image in images.items():
        done = docker_run(image)
        assert (done.returncode, done.stdout) == (0, f"{says} 2.13.0+{build}\n"), done.stderr
    code = (
        "runtime/test_every_file_is_accounted_for.py::test_files_of_the_code",
        "runtime/test_it_runs_where_users_run_it.py::test_the_code_can_be_imported_from_anywhere",
    )
    found = hold(image, False, *code)
    assert found == dict.fromkeys(code, "")
