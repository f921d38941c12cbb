"""What Poetry may not change in the dev image."""

import json
import subprocess

import pytest

from torchcrate.host import TOP

CPU = "--index-url https://example.com/whl/cpu\ntorch===2.13.0+cpu \\\n    --hash=sha256:00\n"
CUDA = """# Its index is the default one.
nvidia-cublas==13.1 \\
    --hash=sha256:00
torch===2.13.0 \\
    --hash=sha256:00
triton==3.7 ; platform_machine == 'none' \\
    --hash=sha256:00
"""
PACKAGES = [
    {"name": "torch", "dependencies": {"nvidia-cublas": "*", "numpy": "*", "cuda-toolkit": "*"}},
    {"name": "nvidia-cublas"},
    {"name": "cuda-toolkit"},
    {"name": "numpy"},
    {"name": "nvidia-ml-py"},
    {"name": "lightning", "dependencies": {"torch": "*", "numpy": "*"}},
]
REBUILD = "run `./crate lock` outside the container and build the image again."


def plugin(expression, *values):
    """Return what an expression with the plugin's functions gives, in Poetry's environment."""
    code = (
        "import json, sys; from pathlib import Path\n"
        "from torchcrate.stages.dev.hold_torch import *\n"
        f"print(json.dumps({expression}))"
    )
    command = [TOP / ".tools/poetry/bin/python", "-c", code, *map(json.dumps, values)]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_no_lock_holds_nothing(tmp_path):
    assert plugin("find(Path(json.loads(sys.argv[1])))", str(tmp_path)) is None


@pytest.mark.parametrize("build, text", [("cpu", CPU), ("cu130", CUDA)])
def test_held(tmp_path, build, text):
    """Also CUDA packages in a CPU image, and packages for other machines."""
    (tmp_path / f"torch.{build}.txt").write_text(text)
    expression = "sorted(held_by(find(Path(json.loads(sys.argv[1]))), json.loads(sys.argv[2])))"
    held = set(plugin(expression, str(tmp_path), PACKAGES))
    family = {"torch", "nvidia-cublas", "cuda-toolkit"}
    assert held == family | ({"triton"} if build == "cu130" else set())
    held = set(plugin(expression, str(tmp_path), []))
    assert held == {"torch"} | ({"nvidia-cublas", "triton"} if build == "cu130" else set())


def test_why():
    ways = {
        ("torch", "2.13.0+cpu", "2.13.0"): "",
        ("nvidia-cublas", None, "13.1"): "",
        ("torch", "2.13.0+cpu", "2.14.0"): "torch stays 2.13.0+cpu where poetry.lock wants 2.14.0",
        ("torch", "2.13.0+cpu", None): "torch stays 2.13.0+cpu where poetry.lock wants none",
        ("torchaudio", None, "2.13.0"): "torchaudio stays away where poetry.lock wants 2.13.0",
    }
    said = plugin("[why(*way) for way in json.loads(sys.argv[1])]", list(ways))
    assert said == [f"{text}: {REBUILD}" if text else "" for text in ways.values()]
