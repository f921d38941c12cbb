"""The command line of `./crate`.

Commands run on this machine's Python (3.9 or newer) if they can. The others run on Python 3.11, in
an environment in .tools that is set up first. Values reach other programs as arguments or in the
environment, never through a shell.
"""

from __future__ import annotations  # a Mac's own Python is 3.9

import argparse
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from torchcrate import host, tools
from torchcrate.host import TOP, fail

# Options of many commands. The environment may set them, under the same name in capitals.
SHARED = {
    "build": ("NAME", "the torch build, of a locks/torch.<build>.txt"),
    "wheels": ("FOLDER", "a folder to take torch's wheels from"),
    "base-image": ("IMAGE", "what to build on"),
    "index-url": ("URL", "a package index in place of the default one"),
    "torch-index-url": ("URL", "a mirror of PyTorch's index"),
    "netrc": ("FILE", "a netrc file with the passwords of indexes"),
}
IMAGE_OPTIONS = ("build", "wheels", "base-image", "index-url", "torch-index-url", "netrc")


class Command(NamedTuple):
    """A subcommand."""

    help: str
    function: str  # module:function, which gets the parsed options and returns the exit code
    options: tuple = ()  # of SHARED
    arguments: tuple = ()  # (names, more arguments of argparse's add_argument)
    tools: str = ""  # the environment in .tools that it runs in
    engine: bool = False  # does it need Docker?
    words: str = ""  # for a command that passes its arguments on: their name in the help


STEPS = ("push", "publish")
COMMAND = (("command",), {"nargs": argparse.REMAINDER, "help": "what to run instead"})
COMMANDS = {
    "run": Command(
        "build the image and run it; results in ./results",
        "torchcrate.build:run_image",
        IMAGE_OPTIONS,
        (COMMAND,),
        engine=True,
    ),
    "test": Command(
        "build your images and test what they promise; see reports/contract.md",
        "torchcrate.test:main",
        IMAGE_OPTIONS,
        tools="tests",
        engine=True,
        words="[PYTEST'S OPTIONS]",
    ),
    "image": Command(
        "build the image only",
        "torchcrate.build:build_image",
        IMAGE_OPTIONS,
        ((("--dev",), {"action": "store_true", "help": "the image `dev`"}),),
        engine=True,
    ),
    "shell": Command(
        "start a shell, or a command, in the image `dev`, with your project",
        "torchcrate.build:shell",
        IMAGE_OPTIONS,
        (COMMAND,),
        engine=True,
    ),
    "doctor": Command(
        "say what the image can do on this machine",
        "torchcrate.build:doctor",
        IMAGE_OPTIONS,
        engine=True,
    ),
    "add": Command(
        "add a dependency to pyproject.toml and poetry.lock",
        "torchcrate.lock:add",
        tools="poetry",
        words="[OPTIONS OF poetry add] NAME...",
    ),
    "remove": Command(
        "remove a dependency from pyproject.toml and poetry.lock",
        "torchcrate.lock:remove",
        tools="poetry",
        words="[OPTIONS OF poetry remove] NAME...",
    ),
    "lock": Command(
        "update the locks; with --build: add a torch build",
        "torchcrate.lock:main",
        ("build", "wheels", "index-url", "torch-index-url"),
        tools="poetry",
    ),
    "check": Command(
        "check that locks, Dockerfiles, bake file and workflows agree",
        "torchcrate.check:main",
        arguments=((("--write",), {"action": "store_true", "help": "make the generated files"}),),
        tools="poetry",
    ),
    "venv": Command(
        "make .venv on this machine from the same locks",
        "torchcrate.venv:main",
        ("build", "wheels", "index-url", "torch-index-url"),
        tools="poetry",
    ),
    "contract": Command(
        "test an image that exists: does it keep the contract?",
        "torchcrate.test:contract",
        ("build",),
        (
            (("image",), {"help": "its name"}),
            (("--stage",), {"default": "runtime", "choices": ("base", "runtime", "dev")}),
        ),
        tools="tests",
        engine=True,
        words="NAME --build NAME [--stage STAGE] [PYTEST'S OPTIONS]",
    ),
    "step": Command(
        "a step of the workflows in .github (see torchcrate/ci.py)",
        "torchcrate.ci:main",
        arguments=(
            (("step",), {"choices": STEPS}),
            (("words",), {"nargs": "*", "help": "for `publish`: a folder, then the tags"}),
        ),
    ),
    "lint": Command("run pre-commit on all files", "torchcrate.test:lint", tools="tests"),
}
# The template's functions to call before a command that needs an engine.
PREPARE: list[Callable[[], None]] = []


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    main = argparse.ArgumentParser(prog="./crate", allow_abbrev=False)
    subparsers = main.add_subparsers(dest="subcommand", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        usage = f"./crate {name} {command.words}" if command.words else None
        one = subparsers.add_parser(
            name, help=command.help, description=command.help, usage=usage, allow_abbrev=False
        )
        for option in command.options:
            metavar, said = SHARED[option]
            variable = option.upper().replace("-", "_")
            one.add_argument(f"--{option}", metavar=metavar, help=f"{said} (or ${variable})")
        for names, more in command.arguments:
            one.add_argument(*names, **more)
    return main


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return the parsed options. For a command that passes its arguments on, `words` has them."""
    main = parser()
    name = arguments[0] if arguments else ""
    command = COMMANDS.get(name)
    if command and command.words and not {"-h", "--help"} & set(arguments[1:]):
        known = argparse.ArgumentParser(f"./crate {name}", add_help=False, allow_abbrev=False)
        words = arguments[1:]
        for option in command.options:
            known.add_argument(f"--{option}")
        for names, more in command.arguments:
            known.add_argument(*names, **more)
        options, words = known.parse_known_args(words)
        options.subcommand, options.words = name, words
        return options
    return main.parse_args(arguments)


def given(options: argparse.Namespace, name: str) -> str | None:
    """Return the value of an option, or None without one. Ends the program if it is empty."""
    value = getattr(options, name, None)
    if value == "":
        fail(f"--{name.replace('_', '-')} is empty: give a value, or leave it out.")
    return value


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    options = parse(arguments)
    command = COMMANDS[options.subcommand]
    for option in command.options:
        name = option.replace("-", "_")
        value = given(options, name)
        if value is not None:
            os.environ[name.upper()] = value
        value = os.environ.get(name.upper(), "")
        if value and name in ("wheels", "netrc"):  # commands start other commands in other folders
            value = os.environ[name.upper()] = str(Path(host.home(value)).absolute())
        setattr(options, name, value)
    for name in ("into", "answers", "file"):
        if given(options, name):
            setattr(options, name, host.home(getattr(options, name)))
    host.check_addresses()
    module, _, function = command.function.partition(":")
    try:
        if command.tools and not tools.inside(command.tools):
            python, environment = tools.ready(command.tools)
            again = [str(python), str(TOP / "crate"), *arguments]
            sys.stdout.flush()
            os.execve(again[0], again, environment)
        if command.engine:
            for prepare in PREPARE:
                prepare()
        return getattr(import_module(module), function)(options) or 0
    except KeyboardInterrupt:
        fail("stopped.")
