"""`./crate shell` runs a command in the image `dev`, on the project."""

import os
import shutil
import subprocess

import pytest

from template.tests.common import REPOSITORY


@pytest.fixture
def shell(stub_projects, engine, base_image, index_url, tmp_path):
    """Return a copy of a project with stub wheels, and a function that runs ./crate shell there."""
    project, folder = stub_projects["cpu"], tmp_path / "project"
    shutil.copytree(project.folder, folder, symlinks=True)
    (folder / ".tools").unlink()  # a link to this repository's
    wheels = project.arguments[0].partition("wheels=")[2]
    environment = {**os.environ, "IMAGE": REPOSITORY, "INDEX_URL": index_url}

    def run(command):
        line = ["./crate", "shell", "--build=cpu", f"--wheels={wheels}", *command]
        done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    yield folder, run
    engine.images.remove(f"{REPOSITORY}:cpu-dev", force=True)


def test_command(shell):
    folder, run = shell
    (folder / "src" / "made_here.py").write_text("print('edited after', __file__)\n")
    script = "poetry add 'einops>=0.8' --lock && python -m made_here"
    code, output = run(["bash", "-c", script])
    assert code == 0, output
    assert "edited after /workspace/src/made_here.py" in output
    assert '"einops (>=0.8)"' in (folder / "pyproject.toml").read_text()
    assert 'name = "einops"' in (folder / "poetry.lock").read_text()
    assert {path.stat().st_uid for path in folder.rglob("*")} == {os.getuid()}


def test_exit_code(shell):
    code, output = shell[1](["bash", "-c", "exit 7"])
    assert code == 7, output
