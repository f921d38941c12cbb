"""torch.compile works in `dev`, and in `runtime` if apt/runtime.txt has a compiler."""

import pytest

from torchcrate.testing.images import PLACES

pytestmark = [pytest.mark.real, pytest.mark.once]
CODE = """
import torch
f = torch.compile(lambda x: torch.sin(x) ** 2 + torch.cos(x) ** 2)
print(f(torch.arange(8.)).round().tolist())
"""


def test_torch_compile(image, contents, docker_run, seen):
    """torch.compile works with a compiler, for any user and with a read-only root."""
    options = [option.replace("/tmp", "/tmp:exec") for option in PLACES["all at once"]]
    done = docker_run(image, "python", "-c", CODE, options=tuple(options))
    if image.stage == "runtime" and "usr/bin/g++" not in contents.files:
        assert done.returncode, "it works without a compiler"
        assert (
            "add g++ and libpython3.11-dev to apt/runtime.txt" in docker_run(image, "doctor").stdout
        )
        seen("no compiler, and the doctor says which packages to add")
        return
    assert done.stdout == f"{[1.0] * 8}\n", done.stderr
    seen("sin² + cos² is 1")
