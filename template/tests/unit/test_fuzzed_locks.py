"""Any poetry.lock, pyproject.toml and torch lock give the parts, or one sentence."""

import re
from pathlib import Path

import pytest
import tomlkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement

from torchcrate.stages.locks import split_locks
from torchcrate.stages.locks.split_locks import LockError

NAMES = st.sampled_from(["torch", "torchvision", "triton", "nvidia-x", "numpy", "compiled", "", 1])
ANYTHING = st.recursive(
    st.one_of(st.text(max_size=9), st.integers(-9, 9), st.booleans()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def odd(strategy):
    """Return a strategy that is mostly the given one, and sometimes anything."""
    return st.one_of(strategy, strategy, strategy, ANYTHING)


SOURCES = st.fixed_dictionaries(
    {},
    optional={
        "type": odd(st.sampled_from(["git", "directory", "file", "legacy", "url"])),
        "url": odd(st.sampled_from(["packages/mine", "../mine", "https://example.com/mine"])),
        "resolved_reference": odd(st.just("abc")),
    },
)
PACKAGES = st.fixed_dictionaries(
    {"name": odd(NAMES), "version": odd(st.just("1.0")), "groups": odd(st.just(["main"]))},
    optional={
        "dependencies": odd(st.dictionaries(NAMES.filter(bool).map(str), ANYTHING, max_size=3)),
        "files": odd(st.just([{"file": "a", "hash": "sha256:0"}])),
        "source": odd(SOURCES),
        "develop": odd(st.booleans()),
    },
)
POETRY_LOCKS = st.fixed_dictionaries({"package": odd(st.lists(odd(PACKAGES), max_size=4))})
PYPROJECTS = st.fixed_dictionaries(
    {},
    optional={
        "project": odd(st.fixed_dictionaries({"dependencies": odd(st.just(["torch"]))})),
        "dependency-groups": odd(
            st.dictionaries(
                st.sampled_from(["dev", split_locks.EXTENSIONS]),
                odd(st.lists(odd(st.sampled_from(["compiled>1", {"include-group": "dev"}])))),
            )
        ),
        "tool": odd(st.fixed_dictionaries({"poetry": odd(st.just({"group": {"dev": {}}}))})),
    },
)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a folder for the files of a project. Any content hash is right."""
    monkeypatch.setattr(split_locks, "check_content_hash", lambda *_: None)
    (tmp_path / "locks").mkdir()
    return tmp_path


def split(project: Path, number: list[int]) -> None:
    """Split the locks of a folder. A LockError has one sentence, and no other error may occur."""
    number.append(0)
    out = project / f"out-{len(number)}"
    try:
        split_locks.split(project, out, "cpu", dev_groups="dev")
    except LockError as error:
        assert str(error).strip()
        assert not out.exists()
    else:
        assert (out / "extensions" / "extensions.txt").exists()


FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
RUNS: list[int] = []


@FUZZ
@given(st.binary(max_size=60), st.binary(max_size=60), st.text(max_size=60))
def test_any_bytes(project, poetry_lock, pyproject, torch_lock):
    (project / "poetry.lock").write_bytes(poetry_lock)
    (project / "pyproject.toml").write_bytes(pyproject)
    (project / "locks" / "torch.cpu.txt").write_text(torch_lock)
    split(project, RUNS)


@FUZZ
@given(POETRY_LOCKS, PYPROJECTS, odd(st.just("torch===1.0+cpu \\\n    --hash=sha256:0\n")).map(str))
def test_any_toml(project, poetry_lock, pyproject, torch_lock):
    (project / "poetry.lock").write_text(tomlkit.dumps(poetry_lock))
    (project / "pyproject.toml").write_text(tomlkit.dumps(pyproject))
    (project / "locks" / "torch.cpu.txt").write_text(torch_lock)
    split(project, RUNS)


PIECES = st.sampled_from(
    [
        *("torch", "nvidia-a", "evil", "===2.0", "==1", ">=1", " @ https://a.example/b.whl", "*"),
        *(' ; platform_machine == "x86_64"', " ; extra == 'a'", " \\\n   ", " --hash=sha256:"),
        *("a" * 64, "zz", "\n", "#", "-r a.txt", "--index-url https://a.example", "[a]", ",<3"),
        f"--index-url {split_locks.PYTORCH}/cpu\n",
    ]
)


LOCK = ["torch", "===2.0", " ", "--hash=sha256:", "a" * 64, "\n", "nvidia-a", "==1", " \\\n   "]
LOCK += [" --hash=sha256:", "a" * 64, "\n"]
EDITS = st.lists(st.tuples(st.integers(0, len(LOCK)), PIECES | st.text(max_size=3)), max_size=2)


@settings(max_examples=2000, deadline=None)
@given(EDITS, st.booleans())
def test_any_torch_lock(edits, replaced):
    """What is let in is, to packaging, exact pins of the family, each with a whole digest."""
    pieces = list(LOCK)
    for place, piece in edits:
        pieces[place : place + replaced] = [piece]
    text = "".join(pieces)
    try:
        split_locks.check_torch_lock("cpu", text)
    except LockError as error:
        assert "`./crate lock --build cpu`" in str(error)
        return
    for line in re.sub(r" \\\n +", " ", text).splitlines():
        if not line.startswith(("#", "--index-url")):
            needs, *hashes = line.split(" --hash=sha256:")
            it = Requirement(needs)
            (exactly,) = it.specifier
            assert exactly.operator in ("==", "===") and "*" not in exactly.version
            assert it.name in split_locks.ROOTS or it.name.startswith("nvidia-")
            assert not it.extras and not it.url
            assert hashes and all(re.fullmatch("[0-9a-f]{64}", each.strip()) for each in hashes)
