"""The records in an engine's build cache, and how some of them are removed."""

from __future__ import annotations  # a Mac's own Python is 3.9

import re

from torchcrate import engine
from torchcrate.build import builder
from torchcrate.host import fail


def cached(environment: engine.Environment) -> set[str]:
    """Return the records in the engine's build cache.

    Ends the program where docker does not say: who compares would take all for new, and delete it.
    """
    command = ["docker", "buildx", "du", f"--builder={builder(environment)}", "--verbose"]
    for _ in range(2):  # a Ctrl-C ends docker, too, whose caller has yet to tidy up
        listed = engine.quiet(command, environment)
        if listed is not None:
            return set(re.findall(r"^ID:\s+(\S+)", listed, re.MULTILINE))
    fail("the engine does not list its build cache: see what `docker buildx du` says.")


def uncache(environment: engine.Environment, records: set[str]) -> None:
    """Remove records from the engine's build cache."""
    command = ["docker", "buildx", "prune", f"--builder={builder(environment)}", "--force", "--all"]
    if records:
        engine.quiet([*command, f"--filter=id~=^({'|'.join(records)})$"], environment)
