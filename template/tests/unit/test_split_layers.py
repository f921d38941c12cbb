"""An environment's packages are divided among layers, each independently of the others."""

import os
from pathlib import Path

import pytest

from torchcrate.stages.install import split_layers
from torchcrate.stages.install.split_layers import LARGE_BYTES, TIME, layers

SITE = "app/.venv/lib/python3.11/site-packages"
LARGE, SMALL = 4, 3


def split(tree, target):
    """Split a tree into layers, with the metadata beside them."""
    split_layers.split(tree, target, target.with_suffix(".metadata"), LARGE, SMALL)


def layer(package, size, **others):
    """Return a package's layer, among others of these sizes."""
    return layers({package: size, **others}, LARGE, SMALL)[package]


@pytest.fixture
def tree(tmp_path):
    """Return a function that installs a package below a folder, and the folder."""
    top = tmp_path / "tree"
    (top / SITE).mkdir(parents=True)

    def install(name, size=10, scripts=()):
        package, info = top / SITE / name.lower(), top / SITE / f"{name}-1.0.dist-info"
        (package / "__pycache__").mkdir(parents=True)
        info.mkdir()
        (package / "__init__.py").write_bytes(b"#" * size)
        (package / "__pycache__" / "__init__.cpython-311.pyc").write_bytes(b"compiled")
        rows = [f"{name.lower()}/__init__.py", f"{info.name}/METADATA", f"{info.name}/RECORD"]
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        for script in scripts:
            (top / "app/.venv/bin").mkdir(exist_ok=True)
            (top / "app/.venv/bin" / script).write_text("#!/app/.venv/bin/python\n")
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


def test_package_in_one_layer(tree, tmp_path):
    install, top = tree
    install("Some_Package", scripts=["some"])
    install("large", size=LARGE_BYTES)
    split(top, tmp_path / "layers")
    for name, key, size in (("Some_Package", "some-package", 10), ("large", "large", LARGE_BYTES)):
        there = files(tmp_path / "layers" / str(layer(key, size)))
        assert {path for path in there if name.lower() in path.lower()} == {
            f"{SITE}/{name.lower()}/__init__.py",
            f"{SITE}/{name.lower()}/__pycache__/__init__.cpython-311.pyc",
            f"{SITE}/{name}-1.0.dist-info/METADATA",
            f"{SITE}/{name}-1.0.dist-info/RECORD",
        }
    small = files(tmp_path / "layers" / str(layer("some-package", 10)))
    assert "app/.venv/bin/some" in small


def test_all_files_once(tree, tmp_path):
    install, top = tree
    for i in range(30):
        install(f"package{i}")
    split(top, tmp_path / "layers")
    trees = [files(tmp_path / "layers" / str(n)) for n in range(1, SMALL + LARGE + 1)]
    assert set().union(*trees) == files(top)
    assert sum(map(len, trees)) == len(files(top))
    assert len([there for there in trees if there]) == SMALL
    assert len(files(tmp_path / "layers.metadata")) == 30


def test_new_package(tree, tmp_path):
    install, top = tree
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


def test_shared_file(tree, tmp_path):
    install, top = tree
    shared = top / SITE / "tests" / "__init__.py"
    shared.parent.mkdir()
    shared.write_text("")
    for i in range(9):
        install(f"package{i}")
        record = top / SITE / f"package{i}-1.0.dist-info" / "RECORD"
        record.write_text(record.read_text() + "tests/__init__.py,,\n")
    split(top, tmp_path / "layers")
    inside = shared.relative_to(top)
    has = [
        n for n in range(1, SMALL + LARGE + 1) if (tmp_path / "layers" / str(n) / inside).exists()
    ]
    assert has == [layer("", 10)]


@pytest.mark.parametrize("name", ["numpy", "einops", "a", ""])
def test_large_packages_first(name):
    assert 1 <= layer(name, LARGE_BYTES) <= LARGE
    assert LARGE < layer(name, LARGE_BYTES - 1) <= LARGE + SMALL


def test_large_packages_alone():
    """As long as there are layers. One more changes the layers of few others."""
    sizes = {f"package{i}": LARGE_BYTES for i in range(LARGE)}
    assert sorted(layers(sizes, LARGE, SMALL).values()) == list(range(1, LARGE + 1))
    more = layers({**sizes, "another": LARGE_BYTES}, LARGE, SMALL)
    assert set(more.values()) == set(range(1, LARGE + 1))
    few = {f"package{i}": LARGE_BYTES for i in range(6)}
    before, after = layers(few, 24, 1), layers({**few, "another": LARGE_BYTES}, 24, 1)
    assert len([name for name in few if before[name] != after[name]]) <= 1


def test_fixed_time(tree, tmp_path):
    install, top = tree
    install("package")
    split(top, tmp_path / "layers")
    times = {Path(folder).stat().st_mtime for folder, _, _ in os.walk(tmp_path / "layers")}
    assert times == {TIME}
