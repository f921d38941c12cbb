"""`./crate lock` writes locks that pip and the build can read, or changes nothing."""

import errno
import tomllib
from pathlib import Path

import pytest

from torchcrate import lock
from torchcrate.stages.locks import split_locks
from torchcrate.stages.locks.split_locks import LockError

DIGEST = "a" * 64


def poetry_lock(**versions):
    packages = [
        {"name": name.replace("_", "-"), "version": version, "groups": ["main"], "dependencies": {}}
        for name, version in versions.items()
    ]
    return {"package": packages}


@pytest.mark.parametrize(
    "packages, build",
    [
        ({"nvidia_cuda_runtime": "13.0.96"}, "cu130"),
        ({"nvidia_cuda_runtime_cu12": "12.6.77"}, "cu126"),
        ({"nvidia_cuda_runtime_cu11": "11.7.99"}, "cu117"),
        ({"numpy": "2.0"}, None),
    ],
)
def test_default_build(packages, build):
    versions = split_locks.pins("".join(f"{n}=={v}\n" for n, v in packages.items()))
    assert split_locks.cuda_build(versions) == build


@pytest.mark.parametrize(("build", "carried"), [("cu117", True), ("cu118", False)])
def test_default_build_without_cuda(monkeypatch, build, carried):
    asked = []

    def compiled(requirements, *_):
        asked.append(requirements)
        return "nvidia-cuda-runtime-cu11==11.7.99\ntorch==2.0.1\n"

    monkeypatch.setattr(lock, "uv_compile", compiled)
    assert lock.is_default(build, poetry_lock(torch="2.0.1")) == carried
    assert asked == [["torch===2.0.1"]]
    assert not lock.is_default("cpu", poetry_lock(torch="2.0.1"))
    assert lock.is_default("cu130", poetry_lock(torch="2.13.0", nvidia_cuda_runtime="13.0.96"))
    assert len(asked) == 1  # uv is not asked if it is not needed


def two_torches(first, second):
    """Return a poetry.lock with torch 2.6.0 and 2.2.2, and a marker for each."""
    found = poetry_lock(torch="2.6.0")
    found["package"] += poetry_lock(torch="2.2.2")["package"]
    for package, marker in zip(found["package"], (first, second), strict=True):
        package["markers"] = marker
    return found


@pytest.mark.parametrize(
    ("first", "second", "version"),
    [
        ("sys_platform != 'darwin'", "sys_platform == 'darwin'", "2.6.0"),
        ("sys_platform == 'win32'", {"main": "sys_platform == 'linux'"}, "2.2.2"),
        ("python_version < '3.11'", "python_version >= '3.11'", "2.2.2"),
        ("platform_machine == 'arm64'", "platform_machine == 'aarch64'", "2.2.2"),
    ],
)
def test_one_torch_for_images(monkeypatch, first, second, version):
    """On any machine: a lock is made on a Mac too."""
    monkeypatch.setattr("sys.platform", "darwin")
    found = two_torches(first, second)
    assert lock.roots(found) == {"torch": version}
    pin = f"torch==={version}+cu126 --hash=sha256:{DIGEST}\n"
    split_locks.check_fit("cu126", pin, found)
    found["package"].reverse()
    assert lock.roots(found) == {"torch": version}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("", ""),
        ("platform_machine == 'x86_64'", "platform_machine == 'aarch64'"),
        ("extra == 'old'", "extra == 'new' and extra != 'old'"),
    ],
)
def test_two_torches_for_images(first, second):
    found = two_torches(first, second)
    with pytest.raises(LockError, match=r"has torch 2\.6\.0 and 2\.2\.2 for Linux"):
        lock.roots(found)
    with pytest.raises(LockError, match=r"where poetry.lock has 2\.6\.0 and 2\.2\.2"):
        split_locks.check_fit("cu126", f"torch===2.6.0 --hash=sha256:{DIGEST}\n", found)


def test_missing_packages(monkeypatch):
    wheels = {name: ("1.0", {DIGEST}) for name in ("torch", "triton", "cmake", "lit")}
    monkeypatch.setattr(lock, "from_index", lambda *_: {"x86_64": wheels})
    with pytest.raises(LockError, match=r"needs cmake, lit, .* `./crate add cmake lit`"):
        lock.torch_lock("cu117", poetry_lock(torch="1.0"), None)


PYLOCK = f"""
[[packages]]
name = "torch"
version = "1.0"
wheels = [
    {{ url = "file:///folder/torch-1.0-cp311.whl", hashes = {{ sha256 = "{DIGEST}" }} }},
    {{ url = "https://index.example/torch-1.0-cp311.whl", hashes = {{ sha256 = "{"b" * 64}" }} }},
]
[[packages]]
name = "numpy"
version = "2.0"
wheels = [{{ url = "https://index.example/numpy-2.0.whl", hashes = {{ sha256 = "{"c" * 64}" }} }}]
"""


def test_folder_instead_of_index(monkeypatch, tmp_path):
    """Where both have the version, the lock lets in the folder's wheel alone."""
    (tmp_path / "torch-1.0-cp311.whl").touch()
    monkeypatch.setattr(lock, "uv_compile", lambda *_: PYLOCK)
    found = lock.from_index("mine", poetry_lock(torch="1.0"), tmp_path)["x86_64"]
    assert found == {"torch": ("1.0", {DIGEST}), "numpy": ("2.0", {"c" * 64})}


@pytest.mark.parametrize(
    ("build", "wheels", "says"),
    [
        ("cu126", None, "whl/cu126 is out of reach, name a mirror with --torch-index-url"),
        ("cu130", None, "the package index is out of reach, name a mirror with --index-url"),
        ("mine", "torch-1.0-cp311.whl", "the package index is out of reach"),
    ],
)
def test_index_out_of_reach(monkeypatch, tmp_path, build, wheels, says):
    """The advice is about the index that was asked."""

    def fails(*_):
        raise LockError("error: no route to host")

    if wheels:
        (tmp_path / wheels).touch()
    monkeypatch.setattr(lock, "uv_compile", fails)
    poetry = poetry_lock(torch="1.0", nvidia_cuda_runtime="13.0.96")
    with pytest.raises(LockError, match=f"no route to host\n.*{says}"):
        lock.from_index(build, poetry, tmp_path if wheels else None)


def test_default_index_has_moved_on():
    poetry = poetry_lock(torch="2.15.0", nvidia_cuda_runtime="13.2.51")
    said = lock.moved_on(poetry, {"cpu", "cu130"})
    assert "has torch 2.15.0 as build cu132. For that one run `./crate lock --build cu132`" in said
    assert "in place of cu130:" in said
    assert lock.moved_on(poetry, {"cpu", "cu132"}) == ""
    assert lock.moved_on(poetry_lock(torch="2.0.1"), {"cu118"}) == ""


def test_full_disk(monkeypatch, tmp_path):
    """Nothing is left of a lock that could not be written."""
    monkeypatch.setattr(lock, "TOP", tmp_path)
    old = tmp_path / "torch.cpu.txt"
    old.write_text("old")

    def full(path, _text):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(LockError, match="torch.cpu.txt cannot be written .No space left on device"):
        lock.replace(old, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["torch.cpu.txt"]
    assert old.read_text() == "old"


def test_rendered_lock():
    wheels = {"torch": ("1.0+cpu", {DIGEST}), "triton": ("3.0", {DIGEST})}
    both = {"x86_64": wheels, "aarch64": wheels}
    text = lock.render("cpu", "--index-url https://x/cpu", both, {})
    assert text.startswith("--index-url https://x/cpu\n# ")
    assert split_locks.pins(text) == {"torch": "1.0+cpu", "triton": "3.0"}
    assert text.count(f"--hash=sha256:{DIGEST}") == 2


def test_package_for_one_machine():
    text = lock.render(
        "cu1", "#", {"x86_64": {"a": ("1", {DIGEST})}, "aarch64": {"b": ("1", {DIGEST})}}, {}
    )
    assert 'a==1 ; platform_machine == "x86_64" \\' in text
    assert 'b==1 ; platform_machine == "aarch64" \\' in text


def test_wheels_exact_version(tmp_path):
    for local in ("1.0+cpu", "1.0+mine", "1.0+xpu", "0.9"):
        name = f"torch-{local}-cp311-cp311-linux_x86_64.whl"
        (tmp_path / name).touch()
    assert lock.wheel_versions(tmp_path, {"torch": "1.0"}, "mine") == {"torch": "1.0+mine"}


@pytest.mark.parametrize(
    "there, taken",
    [
        (["1.0", "1.0+cpu"], "1.0"),
        (["1.0+cpu", "2.0+mine"], "1.0+cpu"),
        (["2.0.dev20261101+cu130"], "2.0.dev20261101+cu130"),
        (["2.0+cpu", "3.0+mine"], "3.0+mine"),
    ],
)
def test_wheels_of_several_versions(tmp_path, there, taken):
    for version in there:
        (tmp_path / f"torch-{version}-cp311-cp311-linux_x86_64.whl").touch()
    assert lock.wheel_versions(tmp_path, {"torch": "1.0"}, "mine") == {"torch": taken}


def test_ambiguous_wheels(tmp_path):
    for version in ("2.0", "3.0"):
        (tmp_path / f"torch-{version}-cp311-cp311-linux_x86_64.whl").touch()
    with pytest.raises(LockError, match=r"has torch 2.0 and 3.0, and none of them is 1.0"):
        lock.wheel_versions(tmp_path, {"torch": "1.0"}, "mine")


def test_other_version_instead():
    wheels = {"torch": ("2.0.dev1+mine", {DIGEST})}
    text = lock.render("mine", "#", {"x86_64": wheels, "aarch64": wheels}, {"torch": "1.0"})
    split_locks.check_fit("mine", text, poetry_lock(torch="1.0"))
    with pytest.raises(LockError, match=r"has torch 1.0 where poetry.lock has 1.1"):
        split_locks.check_fit("mine", text, poetry_lock(torch="1.1"))


def test_version_not_on_index(monkeypatch):
    def none(*_):
        raise LockError("No solution: Because there is no version of torch==9.9+cu126 and you ...")

    monkeypatch.setattr(lock, "uv_compile", none)
    with pytest.raises(LockError, match=r"whl/cu126 has no torch 9.9\+cu126 for Python 3.11"):
        lock.torch_lock("cu126", poetry_lock(torch="9.9"), None)


@pytest.mark.parametrize(
    "before, after",
    [
        ('mine @ file:///p/packages/mine"]', 'mine"]'),
        ('mine[gpu] @ file:///p/packages/mine"]', 'mine[gpu]"]'),
        ('mine @ file:///elsewhere/mine"]', 'mine @ file:///elsewhere/mine"]'),
    ],
)
def test_relative_paths(before, after):
    text = f'[project]\n# why\ndependencies = ["numpy", "{before} # kept\n'
    made = lock.with_relative_paths(text, Path("/p"))
    assert made.startswith(f'[project]\n# why\ndependencies = ["numpy", "{after} # kept\n')
    tables = tomllib.loads(made).get("tool", {"poetry": {"dependencies": {}}})
    expected = {"mine": {"path": "packages/mine"}} if "/p/" in before else {}
    assert tables["poetry"]["dependencies"] == expected


def test_relative_paths_of_groups():
    text = (
        '[project.optional-dependencies]\nmore = ["mine @ file:///p/packages/mine"]\n'
        '[dependency-groups]\ntorch-extensions = ["ours @ file:///p/packages/ours"]\n'
    )
    made = tomllib.loads(lock.with_relative_paths(text, Path("/p")))
    assert made["project"]["optional-dependencies"]["more"] == ["mine"]
    poetry = made["tool"]["poetry"]
    assert poetry["dependencies"] == {"mine": {"path": "packages/mine"}}
    group = {"torch-extensions": {"dependencies": {"ours": {"path": "packages/ours"}}}}
    assert poetry["group"] == group


def test_wheels_without_torch(tmp_path):
    with pytest.raises(LockError, match=r"has no wheel of torch 1.0, which poetry.lock wants"):
        lock.wheel_versions(tmp_path, {"torch": "1.0"}, "mine")


def test_a_project_without_torch():
    with pytest.raises(LockError, match="run `./crate add torch==VERSION`"):
        lock.roots(poetry_lock(numpy="1.0"))


def test_unreachable_index(monkeypatch):
    def no_answer(*_):
        raise LockError("error: dns error")

    monkeypatch.setattr(lock, "uv_compile", no_answer)
    with pytest.raises(
        LockError, match=r"torch.cu126.txt was not made(.|\n)*dns(.|\n)*--wheels FOLDER"
    ):
        lock.torch_lock("cu126", poetry_lock(torch="1.0"), None)


def test_replace(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lock, "TOP", tmp_path)
    file = tmp_path / "a.txt"
    lock.replace(file, "new\n")
    lock.replace(file, "new\n")
    assert file.read_text() == "new\n"
    assert list(tmp_path.iterdir()) == [file]
    assert capsys.readouterr().out == "a.txt written\na.txt is up to date\n"


def test_settle(tmp_path, monkeypatch):
    """Packages settle together when more than a few are new. Torch's family never does."""
    (tmp_path / "locks").mkdir()
    monkeypatch.setattr(lock, "TOP", tmp_path)
    names = [f"p{number:02}" for number in range(lock.NEW + 1)]
    few = poetry_lock(torch="1.0", triton="1.0", **dict.fromkeys(names[:-1], "1.0"))
    few["package"].append({"name": "of-dev", "version": "1", "groups": ["dev"]})
    few["package"][0]["dependencies"] = {"triton": "*"}
    lock.settle(few)
    assert split_locks.settled_names(tmp_path) == set()
    many = {"package": [*few["package"], *poetry_lock(**{names[-1]: "1.0"})["package"]]}
    lock.settle(many)
    assert split_locks.settled_names(tmp_path) == set(names)
    before = (tmp_path / "locks/settled.txt").read_text()
    lock.settle({"package": [*many["package"], *poetry_lock(another="1.0")["package"]]})
    assert (tmp_path / "locks/settled.txt").read_text() == before


def test_compilers(monkeypatch, tmp_path):
    """NVIDIA's compiler is locked for CUDA 13, where there is something to compile."""
    monkeypatch.setattr(lock, "TOP", tmp_path)
    asked = []

    def compiled(requirements, constraints, *options):
        asked.append((*requirements, *constraints, options[-1]))
        wheel = f'wheels = [{{hashes = {{sha256 = "{DIGEST}"}}}}]'
        names = ("cuda-toolkit", "nvidia-cublas", *split_locks.COMPILER)
        return "".join(
            f'[[packages]]\nname = "{name}"\nversion = "13.0.1"\n{wheel}\n' for name in names
        )

    monkeypatch.setattr(lock, "uv_compile", compiled)
    (tmp_path / "locks").mkdir()
    pyproject, nvcc = tmp_path / "pyproject.toml", tmp_path / "locks/nvcc.cu130.txt"
    pyproject.write_text(f"[dependency-groups]\n{split_locks.EXTENSIONS} = ['mine']\n")
    for build, cuda in (
        ("cpu", ""),
        ("cu128", "nvidia-cuda-runtime-cu12==12.8.90\n"),
        ("cu130", "cuda-toolkit==13.0.3.0\nnvidia-cuda-runtime==13.0.1\n"),
    ):
        (tmp_path / f"locks/torch.{build}.txt").write_text(f"torch===2.13.0\n{cuda}")
    builds = ("cpu", "cu128", "cu130")
    lock.lock_compilers(builds)
    assert [path.name for path in (tmp_path / "locks").glob("nvcc.*")] == [nvcc.name]
    assert split_locks.pins(nvcc.read_text()).keys() == {*split_locks.COMPILER}
    assert len(asked) == 2  # once for each machine
    assert asked[0][0].endswith("]==13.0.3.0") and "torch==2.13.0" in asked[0]
    lock.lock_compilers(builds)
    assert len(asked) == 2  # it fits
    (tmp_path / "locks/torch.cu130.txt").write_text("nvidia-cuda-runtime==13.0.2\n")
    lock.lock_compilers(["cu130"])
    assert asked[2][0].endswith("]==13.0.*")  # an older torch does not name the toolkit
    pyproject.write_text("")
    lock.lock_compilers(builds)
    assert not nvcc.exists()


@pytest.mark.parametrize("there", [True, False])
def test_build_group(monkeypatch, tmp_path, there):
    """The first package to compile brings what builds import; a group that is there stays."""
    monkeypatch.setattr(lock, "TOP", tmp_path)
    file = tmp_path / "pyproject.toml"
    before = '[dependency-groups]\nTorch_extensions_build = ["flit"]\n' if there else "# Mine.\n"
    file.write_text(before)
    lock.with_build_group()
    assert file.read_text().startswith(before)
    groups = split_locks.groups(tomllib.loads(file.read_text()))
    names = {"flit"} if there else {"setuptools", "wheel", "packaging", "ninja"}
    assert groups == {split_locks.EXTENSIONS_BUILD: names}


def test_add_changes_all_or_nothing(monkeypatch, tmp_path):
    """If the compiler of one build cannot be locked, every file is as it was."""
    for name in ("locks/torch.cu130.txt", "pyproject.toml", "poetry.lock"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")

    def poetry(command, cwd):
        assert command[:3] == ["poetry", "add", "--lock"]
        assert split_locks.EXTENSIONS_BUILD in (cwd / "pyproject.toml").read_text()
        (cwd / "poetry.lock").write_text("package = []\n")

    def compilers(builds):
        for build in builds:
            (tmp_path / f"locks/nvcc.{build}.txt").write_text("new")
        raise LockError("no index answers")

    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr(lock, "TOP", tmp_path)
    monkeypatch.setattr(lock.host, "run", poetry)
    monkeypatch.setattr(lock, "lock_compilers", compilers)
    monkeypatch.setattr(lock.build_script, "builds", lambda: ["cu130"])
    with pytest.raises(SystemExit, match="no index answers"):
        lock.change("add", ["-Gtorch_extensions", "mine"])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
