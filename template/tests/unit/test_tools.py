"""An environment stays until the new one is complete. Other folders are never replaced."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from template import tiers
from template.tests import wheelhouse
from torchcrate import tools as environments


@pytest.fixture(autouse=True)
def tools(tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "TOOLS", tmp_path / ".tools")
    return tmp_path / ".tools"


def make(folder):
    """Make an environment with a program of its own, as pip would write it."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    program = folder / "bin" / "which-python"
    program.write_text(f"#!{folder}/bin/python\nimport sys\nprint(sys.executable, sys.prefix)\n")
    program.chmod(0o755)


def test_replaces_and_works(tmp_path, tools):
    target = tmp_path / ".venv"
    make(target)
    (target / "old").touch()
    with environments.beside(target) as new:
        make(new)
        assert (target / "old").exists()
    assert not (target / "old").exists()
    said = subprocess.run([target / "bin/which-python"], capture_output=True, text=True).stdout
    assert said == f"{target}/bin/python {target}\n"
    assert str(tools) not in (target / "bin/activate").read_text()
    assert list(tools.iterdir()) == []


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, OSError])
def test_failure_keeps_the_old_one(tmp_path, tools, error):
    target = tmp_path / ".venv"
    make(target)
    with pytest.raises(error), environments.beside(target) as new:
        make(new)
        raise error
    assert subprocess.run([target / "bin/which-python"], stdout=subprocess.DEVNULL).returncode == 0
    assert list(tools.iterdir()) == []


def test_another_folder_stays(tmp_path):
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    what = pytest.raises(SystemExit, match=r"\.venv is no virtual environment: move it away")
    with what, environments.beside(tmp_path / ".venv"):
        pytest.fail("it went on")
    assert (tmp_path / ".venv" / "bin").is_dir()


def test_link(tmp_path):
    make(tmp_path / "elsewhere")
    (tmp_path / ".venv").symlink_to("elsewhere")
    with environments.beside(tmp_path / ".venv") as new:
        make(new)
    assert not (tmp_path / ".venv").is_symlink()
    assert (tmp_path / "elsewhere" / "pyvenv.cfg").is_file()


def test_uvs_cache_stays(tmp_path):
    """uv makes hard links from its cache."""
    with environments.beside(tmp_path / ".venv") as new:
        make(new)
        (tmp_path / "cached").hardlink_to(new / "bin" / "which-python")
        before = (tmp_path / "cached").read_bytes()
    assert (tmp_path / "cached").read_bytes() == before


def test_venv_checks_first(tmp_path):
    """A project's working .venv stays if the input is wrong."""
    folder = tmp_path / "project"
    tiers.copy(folder)
    poetry = environments.TOP / ".tools/poetry/bin/python"
    make(folder / ".venv")
    for wrong in (
        ("--build=cpu", "--wheels=/nope"),
        ("--build=nope",),
        ("--build=cpu", "--index-url=https://me:secret@127.0.0.1:9"),
    ):
        command = [poetry, "crate", "venv", *wrong]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode, done.stdout
        assert "ERROR: " in done.stderr, done.stderr
        assert subprocess.run([folder / ".venv/bin/which-python"]).returncode == 0


def test_pips_settings(tmp_path):
    """A user's settings cannot have pip install elsewhere; where packages come from stays."""
    elsewhere = tmp_path / "elsewhere"
    config = tmp_path / "pip.conf"
    config.write_text(
        f"[global]\ncert = /a.crt\ntimeout = 7\nextra-index-url = https://a.example\n"
        f"    https://b.example\n[install]\ntimeout = 9\ntarget = {elsewhere}\n"
    )
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python"
    given = {"PIP_CONFIG_FILE": str(config), "PIP_TARGET": str(elsewhere), "PIP_PROXY": "a:1"}
    index = {"INDEX_URL": "https://index.example"}
    assert environments.pip_environment(python, given | index) == index | {
        "PIP_CERT": "/a.crt",
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_EXTRA_INDEX_URL": "https://a.example https://b.example",
        "PIP_INDEX_URL": "https://index.example",
        "PIP_PROXY": "a:1",
        "PIP_TIMEOUT": "9",
    }
    wheel = wheelhouse.any_wheel(tmp_path, "small", "1", "cpu", [])
    variables = environments.pip_environment(python, given | {"INDEX_URL": ""})
    environments.must(variables, python, "-m", "pip", "install", "--no-index", "--quiet", wheel)
    assert list(tmp_path.glob("venv/lib/*/site-packages/small*")) and not elsewhere.exists()


def test_modules_of_the_caller(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/theirs")
    monkeypatch.setenv("INDEX_URL", "https://index.example")
    assert "PYTHONPATH" not in environments.environment()


def test_two_first_runs(tmp_path, monkeypatch):
    """Only one makes the environments; the other waits and takes them."""
    made = []

    def make(_):
        made.append(1)
        time.sleep(0.5)
        (tmp_path / "poetry/bin").mkdir(parents=True)  # a second time, this is an error
        (tmp_path / "poetry/bin/python").symlink_to(sys.executable)

    monkeypatch.setattr(environments, "TOOLS", tmp_path)
    monkeypatch.setattr(environments, "poetry", make)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: environments.ready("poetry")[0], range(2)))
    assert found == [tmp_path / "poetry/bin/python"] * 2
    assert made == [1]
    tmp_path.chmod(0o555)  # what is there already needs no right to write
    assert environments.ready("poetry")[0] == found[0]
    tmp_path.chmod(0o755)


@pytest.mark.parametrize(
    ("spec", "says"), [(None, "install its venv"), ("is there", "mend what is")]
)
def test_no_environment(tmp_path, monkeypatch, spec, says):
    """The venv module is to blame only where it is missing, as on Debian."""
    monkeypatch.setattr(environments, "TOOLS", tmp_path)
    monkeypatch.setattr(environments, "find_spec", lambda _: spec)
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(SystemExit, match=f"/bin/false made no virtual environment in .+: {says}"):
        environments.poetry({})


def test_no_folder(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(environments, "TOOLS", tmp_path / "file" / ".tools")
    with pytest.raises(SystemExit, match="cannot be made .Not a directory.: run this"):
        environments.ready("poetry")
