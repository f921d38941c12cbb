"""The commands of `./crate` that only the template has, and what it does before others."""

from __future__ import annotations  # a Mac's own Python is 3.9

import os
from importlib import import_module

from torchcrate import tools
from torchcrate.cli import IMAGE_OPTIONS, Command
from torchcrate.host import TOP

tools.MORE.append(TOP / "template/tools.txt")
MINUTES = "the tests that `./crate test` leaves out"
COMMANDS = {
    "test": Command(
        "hold the images, GPU and CPU, to what they promise, and run the unit tests",
        "template.tiers:test",
        IMAGE_OPTIONS,
        tools="tests",  # the engine comes up while unit tests run
        words="[PYTEST'S OPTIONS]",
    ),
    "test-all": Command(
        f"{MINUTES}: stub images, broken ones, builds, publishing",
        "template.tiers:test_all",
        tools="tests",
        engine=True,
        words="[PYTEST'S OPTIONS]",
    ),
    "test-projects": Command(
        "of test-all, the tests that make projects",
        "template.tiers:test_projects",
        tools="tests",
        words="[PYTEST'S OPTIONS]",
    ),
    "test-slow": Command(
        "what takes too long for each commit; a test that is skipped fails",
        "template.tiers:test_slow",
        tools="tests",
        engine=True,
        words="[PYTEST'S OPTIONS]",
    ),
    "test-fast": Command(
        "the unit tests, and stub images",
        "template.tiers:test_fast",
        tools="tests",
        engine=True,
        words="[PYTEST'S OPTIONS]",
    ),
    "init": Command(
        "make the template your project, in here or in a new folder (it asks without --name)",
        "template.init:main",
        arguments=(
            *(
                ((f"--{name}",), {"help": said})
                for name, said in {
                    "name": "of the project",
                    "package": "the Python package, instead of `digits`",
                    "description": "in one line",
                    "author": "with or without <address>",
                    "image": "the name of the images",
                    "repository": "on GitHub: owner/name",
                }.items()
            ),
            (("--into",), {"metavar": "FOLDER", "help": "make a new folder"}),
            (("--answers",), {"metavar": "FILE", "help": "a .template.toml with the answers"}),
        ),
        tools="tests",
    ),
    "adopt": Command(
        "bring the images into a Poetry project that is there",
        "template.adopt:main",
        ("build",),
        (
            (("--into",), {"metavar": "FOLDER", "required": True, "help": "the project"}),
            (("--code",), {"help": "the folders and files of the code (default: it is found)"}),
            (("--command",), {"help": "what the container starts (default: it is found)"}),
            (("--replace",), {"action": "store_true", "help": "replace files that are in the way"}),
            (("--answers",), {"metavar": "FILE", "help": "a .template.toml with the answers"}),
        ),
        tools="poetry",
    ),
    "update": Command(
        "merge this template into a project that an older one made",
        "template.update:main",
        arguments=(
            (("--into",), {"metavar": "FOLDER", "required": True, "help": "the project"}),
            (("--replace",), {"action": "store_true", "help": "replace an edited torchcrate/ too"}),
        ),
        tools="tests",
    ),
    "lock-digests": Command(
        "lock a torch build from a list of its wheels' digests, where no index has them",
        "template.digests:main",
        ("build", "index-url"),
        ((("file",), {"help": "TOML: a table [[wheel]] for each wheel"}),),
        tools="poetry",
    ),
    "bench": Command(
        "measure against three other Dockerfiles: 2.5 hours and 35 GB, and goes on if stopped",
        "template.bench.bench:main",
        ("wheels",),
        arguments=(
            (("--quick",), {"action": "store_true", "help": "with torch for the CPU"}),
            (
                ("--only",),
                {"choices": ("ours", "torch-first", "uv", "article"), "help": "one of the four"},
            ),
            (("--project",), {"choices": ("real", "sample", "large"), "help": "one of the three"}),
            (("--no-bump",), {"action": "store_true", "help": "without another version of torch"}),
        ),
        tools="tests",
    ),
    "reproduce": Command(
        "build the image twice from nothing and compare the layers, bit for bit",
        "template.reproduce:main",
        IMAGE_OPTIONS,
        engine=True,
    ),
    "ci": Command(
        "run the workflow here, with act: 25 minutes and 20 GB",
        "template.ci_here:main",
        ("build",),
        tools="tests",
    ),
    "engine": Command(
        "the private Docker Engine, for machines that have none",
        "template.engine:main",
        arguments=((("action",), {"choices": ("start", "stop", "remove")}),),
    ),
}


def prepare() -> None:
    """Bring an engine and a base image where there are none."""
    os.environ.setdefault("BASE_IMAGE", "")
    import_module("template.engine").prepare()
