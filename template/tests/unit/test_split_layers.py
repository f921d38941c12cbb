"""An environment's packages are divided among layers, each independently of the others."""

import os
from pathlib import Path

import pytest

from torchcrate.stages.deps.split_layers import LARGE, LARGE_BYTES, SMALL, TIME, layer, split

SITE = "lib/python3.11/site-packages"


@pytest.fixture
def venv(tmp_path):
    """Return a function that installs a package into an environment, and the environment."""
    top = tmp_path / "app" / ".venv"
    (top / SITE).mkdir(parents=True)
    (top / "pyvenv.cfg").write_text("home = /usr/bin\n")

    def install(name, size=10, scripts=()):
        package, info = top / SITE / name.lower(), top / SITE / f"{name}-1.0.dist-info"
        (package / "__pycache__").mkdir(parents=True)
        info.mkdir()
        (package / "__init__.py").write_bytes(b"#" * size)
        (package / "__pycache__" / "__init__.cpython-311.pyc").write_bytes(b"compiled")
        rows = [f"{name.lower()}/__init__.py", f"{info.name}/METADATA", f"{info.name}/RECORD"]
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        for script in scripts:
            (top / "bin").mkdir(exist_ok=True)
            (top / "bin" / script).write_text("#!/app/.venv/bin/python\n")
            rows.append(f"../../../bin/{script}")
        (info / "RECORD").write_text("".join(f"{row},,\n" for row in rows))

    return install, top


def files(folder):
    """Return the relative paths of all files in a folder."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }


def test_package_in_one_layer(venv, tmp_path):
    install, top = venv
    install("Some_Package", scripts=["some"])
    install("large", size=LARGE_BYTES)
    split(top, tmp_path / "layers")
    inside = str(top).lstrip("/")
    for name, key, size in (("Some_Package", "some-package", 10), ("large", "large", LARGE_BYTES)):
        number = str(layer(key, size))
        there = files(tmp_path / "layers" / number)
        assert {path for path in there if name.lower() in path.lower()} == {
            f"{inside}/{SITE}/{name.lower()}/__init__.py",
            f"{inside}/{SITE}/{name.lower()}/__pycache__/__init__.cpython-311.pyc",
            f"{inside}/{SITE}/{name}-1.0.dist-info/METADATA",
            f"{inside}/{SITE}/{name}-1.0.dist-info/RECORD",
        }
    assert f"{inside}/bin/some" in files(tmp_path / "layers" / str(layer("some-package", 10)))


def test_all_files_once(venv, tmp_path):
    install, top = venv
    for i in range(30):
        install(f"package{i}")
    (top / "lib64").symlink_to("lib")
    split(top, tmp_path / "layers")
    trees = [files(tmp_path / "layers" / str(n)) for n in range(1, SMALL + LARGE + 1)]
    inside = str(top).lstrip("/")
    everything = {f"{inside}/{path}" for path in files(top) if not path.startswith("lib64/")}
    assert set().union(*trees) == everything
    assert sum(map(len, trees)) == len(everything)
    assert (top / "pyvenv.cfg").stat().st_nlink == 2
    assert len([tree for tree in trees if tree]) == SMALL


def test_new_package(venv, tmp_path):
    install, top = venv
    for i in range(30):
        install(f"package{i}")
    split(top, tmp_path / "before")
    install("another")
    split(top, tmp_path / "after")
    changed = [
        n
        for n in range(1, SMALL + LARGE + 1)
        if files(tmp_path / "before" / str(n)) != files(tmp_path / "after" / str(n))
    ]
    assert changed == [layer("another", 100)]


def test_shared_file(venv, tmp_path):
    install, top = venv
    shared = top / SITE / "tests" / "__init__.py"
    shared.parent.mkdir()
    shared.write_text("")
    for i in range(9):
        install(f"package{i}")
        record = top / SITE / f"package{i}-1.0.dist-info" / "RECORD"
        record.write_text(record.read_text() + "tests/__init__.py,,\n")
    split(top, tmp_path / "layers")
    inside = str(shared).lstrip("/")
    has = [
        n for n in range(1, SMALL + LARGE + 1) if (tmp_path / "layers" / str(n) / inside).exists()
    ]
    assert has == [layer("", 10)]


@pytest.mark.parametrize("name", ["numpy", "einops", "a", ""])
def test_large_packages_first(name):
    assert 1 <= layer(name, LARGE_BYTES) <= LARGE
    assert LARGE < layer(name, LARGE_BYTES - 1) <= LARGE + SMALL


def test_fixed_time(venv, tmp_path):
    install, top = venv
    install("package")
    split(top, tmp_path / "layers")
    times = {Path(folder).stat().st_mtime for folder, _, _ in os.walk(tmp_path / "layers")}
    assert times == {TIME}
