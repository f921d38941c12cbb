"""A code edit makes one new layer, a dependency edit another; torch's is the same bit for bit."""

import pytest
import tomlkit

from images import REPOSITORY
from split_layers import LARGE, SMALL


@pytest.fixture(scope="module")
def layers(cpu_project, docker_build, engine):
    """Return a function that builds the CPU image again and returns its layers' digests."""
    tag = f"{REPOSITORY}:edited"

    def build(*arguments):
        result = docker_build(
            cpu_project.folder,
            *("--file=Dockerfile.cpu", f"--tag={tag}", *cpu_project.arguments),
            *arguments,
        )
        assert result.code == 0, result.output
        return engine.images.get(tag).attrs["RootFS"]["Layers"]

    yield build
    engine.images.remove(tag, force=True)


@pytest.fixture
def restored(cpu_project):
    """Return the project's folder and put back the files that a test changes."""
    folder = cpu_project.folder
    names = ["pyproject.toml", "poetry.lock", "locks/torch.cpu.txt"]
    names.append("docker/builder/packages.txt")
    names += [str(path.relative_to(folder)) for path in folder.glob("src/**/*.py")]
    before = {name: (folder / name).read_bytes() for name in names}
    yield folder
    for name, content in before.items():
        (folder / name).write_bytes(content)


def test_code(layers, restored):
    before = layers()
    module = next(restored.glob("src/*/__init__.py"))
    module.write_text(module.read_text() + "\n# an edit\n")
    after = layers()
    assert before[:-1] == after[:-1]
    assert before[-1] != after[-1]


def test_settings_that_install_nothing(layers, restored):
    before = layers()
    pyproject = restored / "pyproject.toml"
    pyproject.write_text(pyproject.read_text() + "\n[tool.image-test]\nan = 'edit'\n")
    assert layers() == before


def test_a_dependency(layers, restored, cpu_project):
    before = layers()
    pyproject = restored / "pyproject.toml"
    document = tomlkit.parse(pyproject.read_text())
    document["project"]["dependencies"].append("einops (>=0.8)")
    pyproject.write_text(tomlkit.dumps(document))
    cpu_project.lock()
    after = layers()
    changed = [i for i, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    code, deps = len(before) - 1, range(len(before) - 2 - SMALL - LARGE, len(before) - 2)
    # The code's layer holds the same files, but its folder has the time of the build.
    changed = [i for i in changed if i != code]
    assert len(changed) == 1, f"layers {changed} changed, for one package"
    assert changed[0] in deps[LARGE:], "not one of those of small packages"


def test_a_package_to_build_with(layers, restored):
    before = layers()
    packages = restored / "docker/builder/packages.txt"
    packages.write_text(packages.read_text() + "file\n")
    assert layers() == before


def test_from_nothing(layers):
    before = layers()
    # All but the code's, whose folder gets the time of the build.
    assert layers("--no-cache-filter=torch,deps,checked,venv,runtime")[:-1] == before[:-1]
