"""`./crate reproduce` builds twice from nothing, and names a layer that differs.

For each commit test_publishing.py compares the layers of two builds from nothing, and
unit/test_reproduce.py tests the messages about layers that differ.
"""

import subprocess

import pytest

from template.tests.edits import replace

pytestmark = pytest.mark.slow

# The first instruction of `runtime`, below the layer of the code.
BEFORE = "# torch, triton and matplotlib write"


def test_same_layers(fork, stub_projects, quiet):
    """The layers of base, torch, the dependencies and apt are the same, bit for bit."""
    folder, gpu = fork(), stub_projects["gpu"]
    for name in ("locks", "poetry.lock"):  # of the stubs
        subprocess.run(["cp", "-r", gpu.folder / name, folder], check=True)
    packages = folder / "apt" / "runtime.txt"
    packages.write_text(packages.read_text() + "libsndfile1\n")
    for edit in replace("Dockerfile", BEFORE, f"RUN date +%N > /var/made\n\n{BEFORE}"):
        edit(folder, "Dockerfile")
    wheels = gpu.arguments[0].partition("wheels=")[2]
    done = subprocess.run(
        ["./crate", "reproduce", f"--build={gpu.build}", f"--wheels={wheels}"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode, done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    layers = [line[2] for line in lines if len(line) == 3 and line[1].startswith("sha256:")]
    assert len(layers) > 9 and set(layers[:-2]) == {"same"}, done.stdout
    assert layers[-2] == "differs", done.stdout
    named = [line for line in done.stdout.splitlines() if line.startswith("layer ")]
    paths = {line.partition(":")[0].partition(", ")[2] for line in named}
    assert "/var/made" in paths and paths <= {"/var/made", "/var", "/etc"}, done.stdout
