"""`./crate` passes no value to a shell, parses on any Python 3, and names what replaced `make`."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from template import commands  # noqa: F401  (adds the template's)
from torchcrate import cli
from torchcrate.host import TOP

# What a shell would take apart, run, fill in or look up.
HOSTILE = "x'\"`touch P1`$(touch P2); touch P3 & touch P4 | touch P5 > P6\ntouch P7 $HOME ${HOME} *"
# What a command needs beside the option that is tried.
NEEDS = {
    **{"contract": ["an-image", "--collect-only", "-q"], "engine": ["stop"], "step": ["room"]},
    **{"add": ["einops"]},
    **{"adopt": ["--into=nowhere"], "init": ["--into=nowhere/at/all"], "remove": ["tqdm"]},
    **{"update": ["--into=nowhere"], "bench": ["--quick"]},
}
FORGOTTEN = ("BUILD", "WHEELS", "NETRC", "PYTEST")
# Commands that begin with a long build or download before they check anything.
LONG = {"bench", "ci", "test", "test-all", "test-fast", "test-projects", "test-slow", "lint"}


def options():
    """Yield (command, arguments) with the hostile value for each option and free argument."""
    for name, command in {**cli.COMMANDS}.items():
        if name in LONG:
            continue
        flags = [f"--{option}" for option in command.options]
        flags += [names[0] for names, more in command.arguments if "action" not in more]
        for flag in flags:
            if flag.startswith("--"):
                yield name, [flag, HOSTILE, *NEEDS.get(name, [])]
            else:
                yield name, [HOSTILE, *(["--collect-only", "-q"] if name == "contract" else [])]
        if command.words:
            yield name, [HOSTILE]


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Return a folder of programs that note how they are called and do nothing."""
    folder = tmp_path_factory.mktemp("programs")
    for name in ("docker", "poetry", "uv", "git", "nvidia-smi", "act"):
        program = folder / name
        program.write_text(
            f"#!{sys.executable}\nimport json, os, sys\n"
            "with open(os.environ['CALLS'], 'a') as file:\n"
            "    print(json.dumps([sys.argv, dict(os.environ)]), file=file)\n"
            f"print('28.5.2 0.29.1')\nsys.exit({name != 'docker':d})\n"
        )
        program.chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("name", "arguments"),
    list(options()),
    ids=lambda it: (
        it if isinstance(it, str) else re.sub(r"\W.*", "", it[0].lstrip("-"), flags=re.S)
    ),
)
def test_values_never_reach_a_shell(name, arguments, programs, tmp_path):
    """One sentence refuses it, or other programs get it unchanged."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(FORGOTTEN)}
    environment |= {"PATH": f"{programs}:/usr/bin:/bin", "CALLS": str(tmp_path / "calls")}
    environment |= {"BASE_IMAGE": "a-base", "ENGINE_DIR": str(tmp_path)}
    tool = cli.COMMANDS[name].tools
    python = TOP / ".tools" / tool / "bin/python" if tool else sys.executable
    done = subprocess.run(
        [python, TOP / "crate", name, *arguments],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert not [path for folder in (TOP, tmp_path) for path in folder.glob("P[0-9]")]
    file = tmp_path / "calls"
    calls = file.read_text().splitlines() if file.exists() else []
    for words, variables in map(json.loads, calls):
        held = [word for word in [*words, *variables.values()] if "touch P1" in word]
        assert all(HOSTILE in word for word in held), held


def test_no_shell():
    for file in [TOP / "crate", *(TOP / "torchcrate").rglob("*.py")]:
        calls = [
            node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)
        ]
        for call in calls:
            assert not any(word.arg == "shell" for word in call.keywords), file
            assert ast.unparse(call.func) not in ("os.system", "os.popen"), file


def test_value_that_is_none(monkeypatch, capsys):
    monkeypatch.setattr(cli.tools, "inside", lambda _: True)
    monkeypatch.setenv("WHEELS", "")
    with pytest.raises(SystemExit, match="--wheels is empty: give a value, or leave it out"):
        cli.main(["lock", "--wheels="])
    assert cli.main(["lock", "--build=cpu", "--wheels=~nosuchuser/x"]) == 1
    assert "/~nosuchuser/x is no folder: name the one" in capsys.readouterr().err


def test_old_python():
    text = (TOP / "crate").read_text()
    head = text[: text.index("from torchcrate")]
    assert not re.search(r"\bf\"|:=|->|\bmatch\b", head)
    ast.parse(head, feature_version=(3, 4))


# What runs before there is a Python 3.11 in .tools.
EARLY = ("cli", "engine", "build", "host", "tools", "__init__")
EARLY = [TOP / "crate", *(TOP / "torchcrate" / f"{name}.py" for name in EARLY)]
EARLY += [TOP / "template" / f"{name}.py" for name in ("__init__", "commands", "engine")]


def test_what_runs_on_python_3_9():
    """Ruff checks the grammar. This looks for newer arguments, such as zip's `strict`."""
    command = [Path(sys.executable).parent / "ruff", "check", "--isolated", "--select=F,UP"]
    command += ["--ignore=UP007,UP031,UP036,UP045", "--target-version=py39", *EARLY]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    for file in EARLY:
        assert "strict=" not in file.read_text(), file


@pytest.mark.parametrize(
    "target, command",
    [
        ("lock", "lock"),
        ("check", "contract IMAGE --build BUILD"),
        ("lock-check", "check"),
        ("engine-stop", "engine stop"),
        ("x$(touch p)", "x"),
        ('"; touch p; "', '"; touch p; "'),
    ],
)
def test_old_make_targets(target, command, tmp_path):
    (tmp_path / "Makefile").write_text((TOP / "Makefile").read_text())
    done = subprocess.run(["make", target], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode
    assert f": type ./crate {command}" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["Makefile"]
