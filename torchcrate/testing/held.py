"""Check what a command of Poetry changed in `dev`: for tests of that image."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from torchcrate.stages.locks import split_locks
from torchcrate.testing.images import Image

# Prints {package: its version, and a hash of its files' sizes and times}.
STATE = """
import hashlib, importlib.metadata as m, json
found = {}
for d in m.distributions(path=["/app/.venv/lib/python3.11/site-packages"]):
    there = [f for f in d.files or () if f.locate().exists()]  # some are pruned
    stats = [(str(f), f.locate().stat()) for f in there]
    files = repr([(name, each.st_size, each.st_mtime_ns) for name, each in stats])
    found[d.metadata["Name"]] = f"{d.version}, files {hashlib.sha256(files.encode()).hexdigest()}"
print(json.dumps(found))
"""
# Makes torch another version, as far as its metadata says.
OTHER_TORCH = (
    "sed -i 's/^Version: .*/Version: 9.9/'"
    " /app/.venv/lib/python3.11/site-packages/torch-*.dist-info/METADATA"
)


def installed(output: str) -> dict[str, str]:
    """Return {name: state} from the last line of what STATE printed."""
    states = json.loads(output.splitlines()[-1]).items()
    return {split_locks.normalize(name): state for name, state in states}


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Return the packages that changed, came or went."""
    return sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n))


def hold_still(
    image: Image,
    shell: Callable[..., subprocess.CompletedProcess],
    workspace: Path,
    command: str,
    with_: str,
    without: str,
) -> str:
    """Run a command of Poetry and check what it changed. Return the text for the report."""
    torch_lock = (image.project / f"locks/torch.{image.build}.txt").read_text()
    poetry_lock = split_locks.read_lock(image.project)
    family = split_locks.family(poetry_lock) | split_locks.pins(torch_lock).keys()
    look = f"python -c '{STATE}'"
    before = installed(shell(look).stdout)
    done = shell(f"{command} >&2; {look}")
    assert done.returncode == 0, done.stdout + done.stderr
    changed = sorted(family.intersection(differences(before, installed(done.stdout))))
    assert not changed, f"{command} changed {changed}"
    pyproject, lock = ((workspace / n).read_text() for n in ("pyproject.toml", "poetry.lock"))
    named = r'(?m)^ *"?{} ?[(=]'  # in a standard list, or in Poetry's table
    added = with_ and re.search(named.format(with_), pyproject) and f'name = "{with_}"' in lock
    assert added or not with_, f"{with_} is not in pyproject.toml and poetry.lock"
    assert not without or not re.search(named.format(without), pyproject)
    owners = {path.stat().st_uid for path in workspace.rglob("*")}
    assert owners == {os.getuid() or 12345}
    there = family & before.keys()
    assert "torch" in there
    return f"torch {before['torch'].partition(',')[0]} and {len(there) - 1} more stay"
