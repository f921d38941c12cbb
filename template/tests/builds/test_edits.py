"""A code edit makes one new layer, a dependency edit another. Torch's layer stays the same."""

import re
import shutil
import subprocess

import pytest

from template.tests.common import REPOSITORY, unpatched


@pytest.fixture(scope="session")
def layers(docker_build, engine):
    """Return a function that builds a CPU image and returns its layers' digests."""
    tag = f"{REPOSITORY}:edited"

    def build(folder, project, *arguments):
        words = ("--file=Dockerfile.cpu", f"--tag={tag}", *project.arguments, *arguments)
        result = docker_build(folder, *words)
        assert result.code == 0, result.output
        digests = engine.images.get(tag).attrs["RootFS"]["Layers"]
        engine.images.remove(tag, force=True)
        return digests

    return build


@pytest.fixture
def edited_layers(layers, stub_projects, tmp_path):
    """Return a function that edits a file of a project and returns the layers before and after."""

    def edit(pattern, text):
        project = stub_projects["cpu"]
        shutil.copytree(project.folder, tmp_path / "project", symlinks=True)
        file = next((tmp_path / "project").glob(pattern))
        before = layers(tmp_path / "project", project)
        file.write_text(file.read_text() + text)
        return before, layers(tmp_path / "project", project)

    return edit


def test_code(edited_layers):
    before, after = edited_layers("src/*/__init__.py", "\n# an edit\n")
    assert before[:-1] == after[:-1]
    assert before[-1] != after[-1]


def test_settings(edited_layers):
    before, after = edited_layers("pyproject.toml", "\n[tool.image-test]\nan = 'edit'\n")
    assert before == after


def test_builder_package(edited_layers):
    before, after = edited_layers("apt/builder.txt", "file\n")
    assert before == after


@pytest.mark.parametrize("stage", ["runtime", "dev"])
def test_machinery(docker_build, stub_projects, tmp_path, stage):
    """An edit of ./crate, or of the images' tests, builds nothing again."""
    project, folder = stub_projects["cpu"], tmp_path / "project"
    shutil.copytree(project.folder, folder, symlinks=True)
    words = ("--file=Dockerfile.cpu", f"--target={stage}", *project.arguments)
    assert docker_build(folder, *words).code == 0
    machinery = folder / "torchcrate"
    for file in [*machinery.rglob("*"), *(folder / "tests/image").rglob("*.py"), folder / "crate"]:
        in_the_image = machinery / "stages" in file.parents or file.name == "doctor.py"
        if file.is_file() and not in_the_image:
            file.write_text(f"{file.read_text()}\n# an edit\n")
    done = docker_build(folder, *words)
    assert done.code == 0, done.output
    steps = set(re.findall(r"^#(\d+) \[\S+ +\d+/\d+\] (?!FROM)", done.output, re.MULTILINE))
    cached = set(re.findall(r"^#(\d+) CACHED", done.output, re.MULTILINE))
    assert len(steps) > 9 and steps <= cached, done.output


def added(folder, stub_projects):
    """Return a copy of a project with one small package added."""
    folder /= "project"
    shutil.copytree(stub_projects["cpu"].folder, folder, symlinks=True)
    done = subprocess.run(
        ["./crate", "add", "einops>=0.8"],
        cwd=folder,
        env=unpatched(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.locked(added, "stub_projects")
def test_dependency(layers, stub_projects, locked):
    project = stub_projects["cpu"]
    before, after = layers(project.folder, project), layers(locked, project)
    changed = [i for i, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    # Above the layer of small packages in `new` are sources, extensions and the code.
    assert changed == [len(before) - 4], f"one package changed the layers {changed}"


@pytest.mark.slow
def test_real_torch_from_nothing(layers, cpu_project):
    """Two builds from nothing make the same layers, as test_publishing.py shows for stubs."""
    before = layers(cpu_project.folder, cpu_project)
    again = ("--no-cache-filter=torch,settled,new,code,venv,runtime",)
    assert layers(cpu_project.folder, cpu_project, *again) == before
