"""List and remove records of an engine's build cache."""

from __future__ import annotations  # a Mac's own Python is 3.9

import re

from torchcrate import engine
from torchcrate.build import builder
from torchcrate.host import fail


def cached(environment: engine.Environment) -> set[str]:
    """Return the ids of the records in the engine's build cache.

    Ends the program if docker fails: with an empty list, the caller would later delete all records.
    """
    command = ["docker", "buildx", "du", f"--builder={builder(environment)}", "--verbose"]
    for _ in range(2):  # a Ctrl-C ends docker too, but the caller must still clean up
        listed = engine.quiet(command, environment)
        if listed is not None:
            return set(re.findall(r"^ID:\s+(\S+)", listed, re.MULTILINE))
    fail("docker buildx du failed, so the build cache is unknown: run it to see why.")


def uncache(environment: engine.Environment, records: set[str]) -> None:
    """Remove records from the engine's build cache."""
    command = ["docker", "buildx", "prune", f"--builder={builder(environment)}", "--force", "--all"]
    if records:
        engine.quiet([*command, f"--filter=id~=^({'|'.join(records)})$"], environment)
