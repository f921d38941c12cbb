"""The check of the whole environment finds packages that are missing, too old, or there twice."""

from importlib.metadata import distributions

import pytest

from torchcrate.stages.install.check_trees import problems


@pytest.fixture
def install(tmp_path):
    """Return a function that installs a distribution's metadata, and one that checks them all."""

    def add(name, version, *requires, extras=()):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        lines = [f"Requires-Dist: {text}" for text in requires]
        lines += [f"Provides-Extra: {extra}" for extra in extras]
        folder.joinpath("METADATA").write_text(
            "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines])
        )

    return add, lambda lock="": problems(distributions(path=[str(tmp_path)]), lock)


def test_nothing_to_say(install):
    add, check = install
    add("torchvision", "0.28.0", "torch==2.13.0", "numpy")
    add("torch", "2.13.0+cpu")
    add("NumPy", "2.0")
    assert check() == []


def test_missing(install):
    add, check = install
    add("torch", "1.0", "sympy>=1", 'colorama; sys_platform == "win32"')
    assert check() == ["torch needs sympy, which is not installed"]


def test_version(install):
    add, check = install
    add("lightning", "2.0", "torch>=2")
    add("torch", "1.0+cpu")
    assert check() == ["lightning needs torch>=2, not 1.0+cpu"]


def test_requested_extras(install):
    add, check = install
    add("torch", "1.0", "cuda-toolkit[nvtx]")
    add("cuda-toolkit", "13.0", 'nvidia-nvtx; extra == "nvtx"', 'nvidia-x; extra == "x"')
    assert check() == ["cuda-toolkit needs nvidia-nvtx, which is not installed"]


def test_extras_of_extras(install):
    add, check = install
    add("a", "1", "b[x]")
    add("b", "1", 'c[y]; extra == "x"')
    add("c", "1", 'a[z]; extra == "y"')
    assert check() == []


def test_no_wheels_for_this_machine(install):
    add, check = install
    add("numpy", "2.0")
    lock = '# a lock\ntorch==1.0 ; platform_machine == "s390x" \\\n    --hash=sha256:0\n'
    assert len(check(lock)) == 1
    assert check(lock)[0].startswith("torch is not installed: its lock has no wheel for ")


def test_twice(install):
    add, check = install
    add("torch", "1.0")
    add("torch", "2.0")
    assert len(check()) == 1
    assert check()[0].startswith("torch is there twice: ")
