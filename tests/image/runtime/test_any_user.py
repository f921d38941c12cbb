"""The image runs as any user, with a read-only root and without any rights."""

import json

import pytest

from torchcrate import build as build_script
from torchcrate.testing.images import PLACES

EVERYWHERE = pytest.mark.parametrize("place", PLACES)

WHAT_ALL_NEED = """
import getpass, pathlib, tempfile
getpass.getuser()
cache = pathlib.Path.home() / ".cache" / "any" / "library"
cache.mkdir(parents=True)
(cache / "file").write_text("whole")
with tempfile.TemporaryFile() as file:
    file.write(b"whole")
import torch
said = f"HOME is {pathlib.Path.home()}, torch {torch.__file__}"
"""
CACHES = """
import importlib.util, os, pathlib, tempfile, torch
compiled = os.environ.get("TORCHINDUCTOR_CACHE_DIR", tempfile.gettempdir() + "/torchinductor")
folders = [torch.hub.get_dir(), compiled, os.path.expanduser("~/.triton")]
if importlib.util.find_spec("matplotlib"):
    import matplotlib
    folders += [matplotlib.get_cachedir(), matplotlib.get_configdir()]
for folder in map(pathlib.Path, folders):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "file").touch()
said = " ".join(map(str, folders))
"""
# Both in one process, since importing torch takes seconds. Without NumPy torch warns; ignore that.
BOTH = f"""
import json, traceback, warnings
warnings.filterwarnings("ignore", "Failed to initialize NumPy")
found = {{}}
for name, code in (("needs", {WHAT_ALL_NEED!r}), ("caches", {CACHES!r})):
    names = {{}}
    try:
        exec(code, names)
        found[name] = [True, names["said"]]
    except Exception:
        found[name] = [False, traceback.format_exc()]
print(json.dumps(found))
"""


@pytest.fixture(scope="session")
def started(image, docker_run):
    """Return a function that starts the image once in each place and returns what BOTH found."""
    done = {}

    def start(place):
        if place not in done:
            done[place] = docker_run(image, "python", "-c", BOTH, options=PLACES[place])
        assert done[place].returncode == 0, done[place].stderr
        return json.loads(done[place].stdout), done[place].stderr

    return start


@EVERYWHERE
def test_home_and_torch(started, place, seen):
    """HOME and temporary files are writable, the user has a name, and torch can be imported."""
    works, said = started(place)[0]["needs"]
    assert works, said
    seen(said)


@pytest.mark.real
@EVERYWHERE
def test_caches(started, place, seen):
    """torch, triton and matplotlib can write their caches, and do not warn."""
    found, stderr = started(place)
    works, said = found["caches"]
    assert works, said
    assert stderr == ""
    seen(said)


MODEL = """
import sys, torch
torch.hub.download_url_to_file = lambda url, file, *_, **__: torch.save({"w": torch.ones(3)}, file)
exec(sys.argv[1])
"""
LOADS = """
import torch
print(torch.hub.load_state_dict_from_url("https://nowhere.example/model.pth")["w"].sum().item())
"""


@pytest.mark.real
def test_cached_models(image, docker_run, tmp_path, seen):
    """Models in a mounted cache load without a network, as any uid with a read-only root."""
    tmp_path.chmod(0o777)
    options = (*PLACES["all at once"], f"--volume={tmp_path}:/cache", "--env=XDG_CACHE_HOME=/cache")
    first = docker_run(image, "python", "-c", MODEL, LOADS, options=options)  # as downloaded
    assert first.returncode == 0, first.stderr
    done = docker_run(image, "python", "-c", LOADS, options=options)
    assert done.stdout == "3.0\n", done.stderr
    seen(", ".join(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.pth")))


def test_any_command(image, docker_run, seen):
    """`docker run IMAGE COMMAND` runs that command with its arguments."""
    done = docker_run(image, "python", "-c", "import sys; print(sys.argv)", "a b")
    assert done.stdout == "['-c', 'a b']\n", done.stdout + done.stderr
    assert docker_run(image, "true").returncode == 0
    seen(done.stdout.strip())


@pytest.mark.parametrize("code", [0, 7])
def test_exit_code(image, docker_run, code, seen):
    """The container exits with the command's exit code."""
    done = docker_run(image, "python", "-c", f"raise SystemExit({code})")
    assert done.returncode == code
    seen(str(done.returncode))


def test_unbuffered_output(image, docker_run, seen):
    """Output is not buffered, so a killed container loses none."""
    code = "import os; print('at once', end=''); os._exit(0)"
    done = docker_run(image, "python", "-c", code)
    assert done.stdout == "at once", "the output is held in a buffer"
    seen(done.stdout)


def test_code_imports(image, docker_run, seen):
    """Your code can be imported in any folder and with an empty environment."""
    modules = []
    for name, target in build_script.code(image.project).items():
        source = image.project / name
        paths = source.iterdir() if target == "/app/src" else [source]
        modules += [path.stem for path in paths if path.suffix == ".py" or any(path.glob("*.py"))]
    for module in modules:
        code = f"import importlib.util as u; print(u.find_spec({module!r}).origin)"
        command = ("env", "-i", "/app/.venv/bin/python", "-c", code)
        done = docker_run(image, *command, options=("--workdir=/",))
        assert done.returncode == 0, f"no {module}: {done.stderr}"
    assert modules
    seen(", ".join(modules))
