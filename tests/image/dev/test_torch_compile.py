"""torch.compile works in `dev`."""

import pytest

pytestmark = [pytest.mark.real, pytest.mark.once]


def test_torch_compile(image, docker_run, seen):
    """torch.compile finds its compiler and headers."""
    code = (
        "import torch; f = torch.compile(lambda x: torch.sin(x) ** 2 + torch.cos(x) ** 2); "
        "print(f(torch.arange(8.)).round().tolist())"
    )
    done = docker_run(image, "python", "-c", code)
    assert done.stdout == f"{[1.0] * 8}\n", done.stderr
    seen("sin² + cos² is 1")
