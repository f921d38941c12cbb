"""A model that `dev` compiles ahead of time runs in `runtime`, which has no compiler."""

import re
from dataclasses import replace

import pytest

from torchcrate.host import TOP
from torchcrate.testing.images import PLACES

pytestmark = [pytest.mark.real, pytest.mark.once]


def test_ahead_of_time(image, docker_run, tmp_path, seen):
    """The manual's two programs: AOTInductor's package from `dev` runs in `runtime`."""
    text = (TOP / "torchcrate/README.md").read_text()
    section = text.partition("### Compiled ahead of time")[2].partition("\n## ")[0]
    compiles, runs = re.findall(r"```python\n(.+?)```", section, re.DOTALL)
    tmp_path.chmod(0o777)
    volume = f"--volume={tmp_path}:/app/results"
    done = docker_run(image, "python", "-c", compiles, options=(volume, "--workdir=/app"))
    assert done.returncode == 0, done.stderr
    runtime = replace(image, tag=image.tag.removesuffix("-dev"), stage="runtime")
    options = [option.replace("/tmp", "/tmp:exec") for option in PLACES["all at once"]] + [volume]
    done = docker_run(
        runtime, "python", "-c", f"{runs}\nprint(logits.shape)", options=tuple(options)
    )
    assert done.stdout == "torch.Size([5, 10])\n", done.stderr
    seen(f"{(tmp_path / 'model.pt2').stat().st_size / 10**6:.1f} MB, logits {done.stdout.strip()}")
