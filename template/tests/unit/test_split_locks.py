"""The torch family is found by dependency and name, and locks that do not fit are refused."""

import json
import shutil
import subprocess
import tomllib

import pytest

from torchcrate.host import TOP
from torchcrate.stages.locks import split_locks
from torchcrate.stages.locks.split_locks import LockError

LOCKS = sorted((TOP / "locks").glob("torch.*.txt"))


def poetry_lock(**needs):
    """Return a parsed poetry.lock with packages and their dependencies."""
    return {
        "package": [
            {
                "name": name.replace("_", "-"),
                "version": "1.0",
                "groups": ["main"],
                "dependencies": dict.fromkeys(needed, "*"),
            }
            for name, needed in needs.items()
        ]
    }


def test_family():
    lock = poetry_lock(
        torch=["nvidia-cublas", "triton", "jinja2", "cuda-toolkit"],
        torchvision=["torch", "numpy"],
        cuda_toolkit=["nvidia-nvtx"],
        nvidia_cublas=["nvidia-nvrtc"],
        nvidia_nvrtc=[],
        nvidia_nvtx=[],
        triton=[],
        jinja2=["markupsafe"],
        markupsafe=[],
        numpy=[],
    )
    assert split_locks.family(lock) == {
        *("torch", "torchvision", "triton", "cuda-toolkit"),
        *("nvidia-cublas", "nvidia-nvrtc", "nvidia-nvtx"),
    }


def test_sister_without_a_requirement():
    lock = poetry_lock(torch=[], torchcodec=[], torchaudio=[])
    assert split_locks.family(lock) == {"torch", "torchcodec", "torchaudio"}
    split_locks.check_sisters(lock)
    lock["package"][0]["version"] = "2.6.0"
    for version, fits in (("2.6.1", True), ("2.5.1", True), ("2.11.0", False)):
        lock["package"][2]["version"] = version
        if fits:
            split_locks.check_sisters(lock)
            continue
        with pytest.raises(
            LockError, match=r"2\.11\.0 needs torch 2\.11 .* torch 2\.6\.0: name .* 2\.6"
        ):
            split_locks.check_sisters(lock)


def test_similar_name():
    lock = poetry_lock(torch=["triton"], triton=[], gpustat=["nvidia-ml-py"], nvidia_ml_py=[])
    assert split_locks.family(lock) == {"torch", "triton"}


def test_shared_dependency():
    lock = poetry_lock(
        torch=["nvidia-cublas"],
        nvidia_cublas=["nvidia-nvrtc"],
        nvidia_nvrtc=[],
        cupy=["nvidia-cublas"],
    )
    assert split_locks.family(lock) == {"torch"}


def test_torch_is_always_family():
    lock = poetry_lock(torch=[], lightning=["torch", "Torchvision"], torchvision=["torch"])
    assert split_locks.family(lock) == {"torch", "torchvision"}


def test_normalized_names():
    lock = poetry_lock(torch=["Nvidia_CUBLAS", "sympy"], nvidia_cublas=[], sympy=[])
    assert split_locks.family(lock) == {"torch", "nvidia-cublas"}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_own_locks_fit(lock):
    build = lock.name.removeprefix("torch.").removesuffix(".txt")
    parsed = tomllib.loads((TOP / "poetry.lock").read_text())
    split_locks.check_fit(build, lock.read_text(), parsed)


def test_another_version():
    lock = poetry_lock(torch=[])
    with pytest.raises(
        LockError, match="has torch 2.0 where poetry.lock has 1.0: run `./crate lock"
    ):
        split_locks.check_fit("cpu", "torch==2.0+cpu \\\n", lock)


def test_local_part():
    split_locks.check_fit("cpu", "torch==1.0+cpu \\\n", poetry_lock(torch=[]))


def test_extra_package():
    with pytest.raises(LockError, match="not name torch: run `./crate add torch==VERSION`"):
        split_locks.check_fit("cpu", "torch==1.0\n", poetry_lock(numpy=[]))
    with pytest.raises(LockError, match="torchvision 1.0 where poetry.lock has none"):
        split_locks.check_fit("cpu", "torch==1.0\ntorchvision==1.0", poetry_lock(torch=[]))


def test_package_in_both_locks():
    with pytest.raises(LockError, match="numpy, which poetry.lock has too"):
        split_locks.check_fit(
            "cpu", "torch==1.0\nnumpy==1.0", poetry_lock(torch=["numpy"], numpy=[])
        )


# What Poetry's content hash covers. Everything else may change.
PYPROJECTS = {
    "standard": {
        "project": {"name": "x", "dependencies": ["torch"], "requires-python": ">=3.11"},
        "dependency-groups": {"dev": ["pytest"]},
        "tool": {"poetry": {"source": [{"name": "s"}], "packages": []}, "ruff": {}},
    },
    "no groups": {"project": {"dependencies": ["torch"]}},
    "Poetry's tables": {"tool": {"poetry": {"dependencies": {"torch": "*"}, "group": {}}}},
    "groups only": {"dependency-groups": {"dev": ["pytest"]}},
    "empty": {},
}


@pytest.mark.parametrize("pyproject", PYPROJECTS.values(), ids=PYPROJECTS)
@pytest.mark.parametrize("with_groups", [True, False], ids=["", "before Poetry 2.3"])
def test_content_hash(pyproject, with_groups):
    """It is Poetry's own."""
    code = (
        "import json, sys; from pathlib import Path; from poetry.packages.locker import Locker; "
        "locker = Locker(Path('poetry.lock'), json.loads(sys.argv[1])); "
        f"print(locker._get_content_hash(with_dependency_groups={with_groups}))"
    )
    command = [TOP / ".tools/poetry/bin/python", "-c", code, json.dumps(pyproject)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    locked = {"metadata": {"content-hash": done.stdout.strip()}}
    split_locks.check_content_hash(pyproject, locked)
    split_locks.check_content_hash(
        pyproject | {"tool": {**pyproject.get("tool", {}), "x": 1}}, locked
    )
    with pytest.raises(LockError, match="poetry.lock is out of date with pyproject.toml: run"):
        split_locks.check_content_hash({"project": {"dependencies": ["numpy"]}}, locked)


MARKERS = {
    "": True,
    "sys_platform == 'win32'": False,
    "python_version >= '3.11' and sys_platform == 'linux'": True,
    'extra == "speech"': True,
    "extra == 'vision'": False,
    "extra != 'vision'": True,
    'extra == "vision" or extra == "speech" and sys_platform == "linux"': True,
}


@pytest.mark.parametrize("marker", MARKERS)
def test_marker(marker):
    package = {"groups": ["main"], "markers": marker}
    assert split_locks.is_wanted(package, {"main"}, {"speech"}) == MARKERS[marker]
    assert not split_locks.is_wanted(package, {"dev"}, {"speech"})


def test_marker_of_a_group():
    package = {"groups": ["main", "Dev_Group"], "markers": {"main": "os_name == 'nt'"}}
    assert not split_locks.is_wanted(package, {"main"})
    assert split_locks.is_wanted(package, {"main", "dev-group"})
    assert split_locks.is_wanted(package)


@pytest.mark.parametrize(
    "files, source, expected",
    [
        (["a-1-py3-none-any.whl"], {}, True),
        (["a-1-py3-none-any.whl"], {"type": "legacy"}, True),
        (["a-1-cp311-cp311-win_amd64.whl", "a-1.tar.gz"], {}, False),
        (["a-1.tar.gz"], {}, False),
        (["a-1-py3-none-any.whl"], {"type": "url"}, False),
        ([], {"type": "git"}, False),
    ],
)
def test_has_wheel(files, source, expected):
    package = {"files": [{"file": name, "hash": "sha256:0"} for name in files], "source": source}
    assert split_locks.has_wheel(package) == expected


def test_parts(tmp_path):
    """Each package is in one part, the settled ones by name."""
    for name in ("pyproject.toml", "poetry.lock"):
        shutil.copy(TOP / name, tmp_path)
    shutil.copytree(TOP / "locks", tmp_path / "locks")
    (tmp_path / "locks/settled.txt").write_text("# a comment\nnumpy\nno-longer-locked\n")
    split_locks.split(tmp_path, tmp_path / "out", "cpu", "main", "dev")
    parts = {name: (tmp_path / "out" / f"{name}.txt").read_text() for name in split_locks.PARTS}
    names = {part: set(split_locks.pins(text)) for part, text in parts.items()}
    assert names["settled"] == {"numpy"}
    assert {"tqdm", "matplotlib", "sympy"} <= names["new"]
    assert {"pytest", "ruff"} <= names["dev"]
    assert not names["new"] & names["dev"]
    assert parts["sources"] == parts["dev-sources"] == ""
    assert all(" --hash=sha256:" in line for line in parts["new"].splitlines())


def test_merge_conflict(tmp_path):
    file = tmp_path / "poetry.lock"
    file.write_text("<<<<<<< HEAD\n")
    with pytest.raises(LockError, match="poetry.lock cannot be read .*: mend it"):
        split_locks.read(file)


@pytest.mark.parametrize(
    "lock, index, torch_index, expected",
    [
        ("--index-url https://a/cpu\ntorch==1", "", "", "--index-url https://a/cpu\ntorch==1"),
        (
            "--index-url https://a/cpu\ntorch==1",
            "https://m",
            "",
            "--index-url https://a/cpu\ntorch==1",
        ),
        (
            "--index-url https://a/cpu\ntorch==1",
            "",
            "https://m/",
            "--index-url https://m/cpu\ntorch==1",
        ),
        ("# default\ntorch==1", "https://m", "", "--index-url https://m\n# default\ntorch==1"),
        ("# default\ntorch==1", "", "https://m", "# default\ntorch==1"),
    ],
)
def test_mirror(lock, index, torch_index, expected):
    assert split_locks.with_index(lock, index, torch_index, "cpu") == expected


GROUPS = {
    "project": {"optional-dependencies": {"speech": ["soundfile"]}},
    "dependency-groups": {
        "dev": ["pytest>=9", {"include-group": "lint"}],
        "lint": ["Ruff"],
        split_locks.EXTENSIONS: ["Torch_Scatter (==2.1)", {"include-group": "dev"}],
    },
    "tool": {"poetry": {"group": {"docs": {"dependencies": {"Sphinx": "*"}}}}},
}


def test_groups():
    assert split_locks.groups(GROUPS) == {
        "dev": {"pytest", "ruff"},
        "lint": {"ruff"},
        "docs": {"sphinx"},
        split_locks.EXTENSIONS: {"torch-scatter", "pytest", "ruff"},
    }


def test_circular_groups():
    loop = {"dependency-groups": {"a": [{"include-group": "b"}], "b": [{"include-group": "a"}]}}
    assert split_locks.groups(loop) == {"a": set(), "b": set()}


def test_chosen():
    both = {"main", split_locks.EXTENSIONS}
    assert split_locks.chosen(GROUPS, "main, docs", "dev", "Speech") == (
        both | {"docs"},
        both | {"docs", "dev"},
        {"speech"},
    )
    assert split_locks.chosen({}, "main", "dev", "") == (both, both, set())


@pytest.mark.parametrize(
    "chosen, says",
    [
        (("main,serve", "dev", ""), "DEPENDENCY_GROUPS names serve, which pyproject.toml does not"),
        (("main", "dev,tests", ""), "DEV_GROUPS names tests, which pyproject.toml does not have"),
        (("main", "dev", "vision"), r"EXTRAS names vision, .*\(there are: speech\)"),
    ],
)
def test_unknown_names(chosen, says):
    with pytest.raises(LockError, match=says):
        split_locks.chosen(GROUPS, *chosen)


@pytest.mark.parametrize(
    "source, says",
    [
        (
            {"url": "../mine"},
            "mine is a path dependency at ../mine, and only what lies in packages",
        ),
        ({"url": "packages/a/../../mine"}, "at packages/a/../../mine, and only"),
        ({"url": "packages/mine", "develop": True}, "mine is an editable path dependency"),
    ],
)
def test_bad_path_dependencies(source, says):
    package = {"name": "mine", "develop": source.pop("develop", False)}
    package["source"] = {"type": "directory", **source}
    with pytest.raises(LockError, match=says):
        split_locks.check_paths({"package": [package]})


@pytest.mark.parametrize(
    "address", ["https://me:word@example.com/a.git", "http://token@example.com:8080/simple"]
)
def test_password_in_address(address):
    with pytest.raises(LockError, match="An address at example.com(:8080)? in pyproject.toml or"):
        split_locks.check_addresses("", f'needs = ["a @ git+{address}"]')
    split_locks.check_addresses("ssh://git@example.com/a.git", "https://example.com/feed@Release/")


@pytest.mark.parametrize(
    "source, line",
    [
        ({}, "compiled==1.0 --hash=sha256:0"),
        (
            {"type": "legacy", "url": "https://example.com/simple"},
            "--extra-index-url https://example.com/simple\ncompiled==1.0 --hash=sha256:0",
        ),
        (
            {"type": "git", "url": "https://example.com/a.git", "resolved_reference": "abc"},
            "compiled @ git+https://example.com/a.git@abc",
        ),
        ({"type": "directory", "url": "packages/a"}, "compiled @ file:///mnt/packages/a"),
        (
            {"type": "url", "url": "https://example.com/a.tar.gz"},
            "compiled @ https://example.com/a.tar.gz --hash=sha256:0",
        ),
    ],
)
def test_extension_sources(source, line):
    pyproject = {"dependency-groups": {split_locks.EXTENSIONS: ["compiled"]}}
    package = {"name": "Compiled", "version": "1.0", "files": [{"hash": "sha256:0"}]}
    package["groups"] = [split_locks.EXTENSIONS]
    found = split_locks.extensions(pyproject, {"package": [{**package, "source": source}]})
    assert found == ({"compiled"}, "", f"--no-binary compiled\n{line}\n")


def test_extension_requirements():
    lock = poetry_lock(
        torch=["sympy", "triton"],
        sympy=["mpmath"],
        triton=[],
        mpmath=[],
        compiled=["torch", "einops"],
        einops=[],
        ninja=[],
        lightning=["torch", "aiohttp"],
        aiohttp=[],
    )
    lock["package"][1]["markers"] = {"main": "os_name == 'posix'"}
    lock["package"][3]["markers"] = "os_name == 'nt'"
    pyproject = {
        "dependency-groups": {
            split_locks.EXTENSIONS: ["compiled"],
            split_locks.EXTENSIONS_BUILD: ["ninja"],
        }
    }
    compiled, takes, made = split_locks.extensions(pyproject, lock)
    assert compiled == {"compiled"}
    assert takes.splitlines() == [
        *("sympy==1.0", "einops==1.0", "ninja==1.0"),
    ]
    assert made == "--no-binary compiled\ncompiled==1.0\n"
    assert split_locks.extensions({}, lock) == (set(), "", "")


TORCH_13 = "torch===2.13.0 --hash=sha256:{0}\nnvidia-cuda-runtime==13.0.88 --hash=sha256:{0}\n"
NVCC = "".join(
    f"{name}==13.0.88 \\\n    --hash=sha256:{'0' * 64}\n" for name in split_locks.COMPILER
)


@pytest.mark.parametrize(
    ("old", "new", "fits"),
    [
        ("", "", True),
        ("", "# A comment.\n", True),
        ("nvvm==13.0.88", "nvvm==13.0.85", True),
        ("runtime==13.0.88", "runtime==13.0.85", False),
        ("==13.0.88", "==13.2.88", False),
        ("nvidia-nvvm==", "nvidia-nvjitlink==", False),
        ("sha256:", "md5:", False),
        (NVCC.partition("\n")[0], "", False),
        (NVCC, "", False),
        (NVCC, NVCC + "--index-url https://example.com/simple\n", False),
    ],
)
def test_compiler(tmp_path, old, new, fits):
    """The compiler has the CUDA version of torch."""
    torch, there = TORCH_13.format("0" * 64), NVCC.replace(old, new) if old else new + NVCC
    pyproject = {"dependency-groups": {split_locks.EXTENSIONS: ["compiled"]}}
    lock = poetry_lock(torch=[], compiled=["torch"])
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks/nvcc.cu130.txt").write_text(there)
    if fits:
        text = split_locks.compiler(tmp_path, "cu130", torch, pyproject, lock)
        assert text == there
        assert split_locks.extensions(pyproject, lock, text)[1].startswith(there)
        cuda_12 = torch.replace("runtime==13.0.88", "runtime-cu12==12.8.90")
        assert split_locks.compiler(tmp_path, "cu128", cuda_12, pyproject, lock) == ""
        assert split_locks.compiler(tmp_path, "cu130", torch, {}, lock) == ""
    else:
        with pytest.raises(LockError, match=r"compiler of CUDA 13\.0, .* `./crate lock --build"):
            split_locks.compiler(tmp_path, "cu130", torch, pyproject, lock)


OPTIONAL = {
    "an extra": {"tool": {"poetry": {"extras": {"ML": ["torch", "numpy"]}}}},
    "a standard extra": {"project": {"optional-dependencies": {"ML": ["torch (==2.0)"]}}},
}


@pytest.mark.parametrize("pyproject", OPTIONAL.values(), ids=OPTIONAL)
def test_torch_in_an_extra(pyproject):
    lock = {"package": [{"name": "torch", "groups": ["main"], "markers": 'extra == "ml"'}]}
    with pytest.raises(LockError, match=r"set `ARG EXTRAS=ml` in Dockerfile"):
        split_locks.check_torch_is_wanted(pyproject, lock, {"main"}, set())
    split_locks.check_torch_is_wanted(pyproject, lock, {"main"}, {"ml"})


def test_torch_in_a_group():
    lock = {"package": [{"name": "torch", "groups": ["ml"]}]}
    with pytest.raises(LockError, match=r"set `ARG DEPENDENCY_GROUPS=main,ml` in Dockerfile"):
        split_locks.check_torch_is_wanted({}, lock, {"main"}, set())
    split_locks.check_torch_is_wanted({}, lock, {"main", "ml"}, set())


INDEX = "--index-url https://download.pytorch.org/whl/cu126\n"
PINNED = f"torch===2.0+cu126 \\\n    --hash=sha256:{'a' * 64} \\\n    --hash=sha256:{'b' * 64}\n"
RUNTIME = f"nvidia-cuda-runtime-cu12==12.6.77 \\\n    --hash=sha256:{'c' * 64}\n"
# {what: the text of locks/torch.cu126.txt}
BROKEN_LOCKS = {
    "no digest": INDEX + "torch===2.0+cu126\n",
    "no digest of one": INDEX + PINNED + "triton==3.0\n",
    "no SHA-256": INDEX + PINNED.replace("a" * 64, "zz"),
    "another algorithm": INDEX + PINNED.replace("sha256", "md5"),
    "marks of a merge": f"<<<<<<< HEAD\n{INDEX}{PINNED}",
    "an added package": INDEX + PINNED + RUNTIME.replace("nvidia-cuda-runtime-cu12", "evil"),
    "an address": INDEX + PINNED + "torch @ https://example.com/torch.whl\n",
    "a range": INDEX + PINNED.replace("===", ">="),
    "twice": INDEX + PINNED + PINNED,
    "another index": INDEX.replace("download.pytorch.org", "example.com") + PINNED,
    "another build's index": INDEX.replace("cu126", "cpu") + PINNED,
    "an index with a password": INDEX.replace("https://", "https://me:secret@") + PINNED,
    "one more index": f"{INDEX}--extra-index-url https://example.com\n{PINNED}",
    "another build's wheels": PINNED + RUNTIME.replace("12.6", "13.0"),
    "a file": f"{INDEX}{PINNED}-r other.txt\n",
}


@pytest.mark.parametrize("text", BROKEN_LOCKS.values(), ids=BROKEN_LOCKS)
def test_broken_torch_lock(text):
    with pytest.raises(LockError, match=r"^locks/torch.cu126.txt has .+ lock --build cu126`"):
        split_locks.check_torch_lock("cu126", text)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        ("cu126", INDEX + PINNED),
        ("cu126", PINNED + RUNTIME),
        ("cu126", PINNED.replace(" \\\n", ' ; platform_machine == "x86_64" \\\n', 1)),
        ("mine", f"# Instead of torch==1.9\n{PINNED}"),
    ],
)
def test_good_torch_lock(build, text):
    split_locks.check_torch_lock(build, text)


def test_all_torch_locks():
    for file in TOP.glob("**/locks/torch.*.txt"):
        split_locks.check_torch_lock(file.name[6:-4], file.read_text())


NAMED = {
    "the standard's list": '[project]\ndependencies = ["torch", "Triton (==3.0)"]\n',
    "an extra": '[project.optional-dependencies]\nfast = ["triton==3.0"]\n',
    "a group": '[dependency-groups]\ndev = ["triton"]\n',
    "Poetry's table": '[tool.poetry.dependencies]\npython = "^3.11"\ntriton = "3.0"\n',
}


@pytest.mark.parametrize("pyproject", NAMED.values(), ids=NAMED)
def test_named_package_of_the_family(tmp_path, pyproject):
    """What pyproject.toml names itself is in every image, also in the CPU's."""
    lock = """
[[package]]
name = "torch"
version = "2.0"
groups = ["main"]
[package.dependencies]
triton = "3.0"
nvidia-a = "1"

[[package]]
name = "triton"
version = "3.0"
groups = ["main"]

[[package]]
name = "nvidia-a"
version = "1"
groups = ["main"]
"""
    (tmp_path / "poetry.lock").write_text(lock)
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["torch"]\n')
    assert split_locks.family(split_locks.read_lock(tmp_path)) == {"torch", "triton", "nvidia-a"}
    (tmp_path / "pyproject.toml").write_text(pyproject)
    found = split_locks.read_lock(tmp_path)
    assert split_locks.family(found) == {"torch", "nvidia-a"}
    assert split_locks.versions(found) == {"torch": ["2.0"], "triton": ["3.0"], "nvidia-a": ["1"]}
    pinned = f"{INDEX}{PINNED}"
    split_locks.check_fit("cu126", pinned, found)
    with pytest.raises(LockError, match="has triton, which poetry.lock has too"):
        split_locks.check_fit("cu126", f"{pinned}triton==3.0 --hash=sha256:{'c' * 64}\n", found)
