"""dist_info.py PYPROJECT TREE: write your project's metadata and commands below TREE/app/.venv.

With these, `importlib.metadata.version` knows your project, and the commands of [project.scripts]
and all other entry points are there, as if the project were installed
(https://packaging.python.org/en/latest/specifications/entry-points/). The code is not needed for
it, so an edit of the code leaves this as it is. Nor are the dependencies in it, so that adding one
does not change the layer with your code.
"""

import os
import re
import sys
import tomllib
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path

try:
    from packaging.version import InvalidVersion, Version
except ImportError:  # in the image, where PYTHONPATH is a wheel of pip
    from pip._vendor.packaging.version import InvalidVersion, Version

SCRIPT = """\
#!{python}
import sys
from {module} import {first}
if __name__ == "__main__":
    sys.exit({attribute}())
"""


def named(pyproject: dict) -> tuple[str, str]:
    """Return a project's name and version, or "" and "" if it has no name or no fixed version."""
    found = {**pyproject.get("tool", {}).get("poetry", {}), **pyproject.get("project", {})}
    name, version = str(found.get("name", "")), str(found.get("version", ""))
    try:
        return (name, str(Version(version))) if name else ("", "")
    except InvalidVersion:  # Poetry fills in one such as 0.0.0 only when it builds the package
        return "", ""


def entry_points(pyproject: dict) -> dict[str, dict[str, str]]:
    """Return {group: {name: "module:attribute"}} of a parsed pyproject.toml."""
    project, poetry = pyproject.get("project", {}), pyproject.get("tool", {}).get("poetry", {})
    console = {
        name: script.get("reference", "") if isinstance(script, dict) else script
        for name, script in poetry.get("scripts", {}).items()
        if not (isinstance(script, dict) and script.get("type") == "file")
    }
    groups = {
        **poetry.get("plugins", {}),
        **project.get("entry-points", {}),
        "console_scripts": console | project.get("scripts", {}),
        "gui_scripts": project.get("gui-scripts", {}),
    }
    return {group: dict(entries) for group, entries in groups.items() if entries}


def write(pyproject: dict, venv: Path, python: str) -> None:
    """Write the metadata, and the commands, which `python` runs, into an environment.

    Ends the program with one sentence if an entry point cannot be a command.
    """
    name, version = named(pyproject)
    if not name:
        return
    site = venv / "lib/python3.11/site-packages"
    info = site / f"{re.sub(r'[-_.]+', '_', name)}-{version}.dist-info"
    summary = " ".join(str(pyproject.get("project", {}).get("description", "")).split())
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {info / "METADATA": about + (f"Summary: {summary}\n" if summary else "")}
    points = entry_points(pyproject)
    if points:
        lines = [
            f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in entries.items())
            for group, entries in points.items()
        ]
        files[info / "entry_points.txt"] = "\n".join(lines)
    for group in ("console_scripts", "gui_scripts"):
        for command, reference in points.get(group, {}).items():
            found = re.fullmatch(r"([\w.]+) *: *((\w+)[\w.]*)( *\[.*\])?", reference)
            if not found or not re.fullmatch(r"(?!python[\d.]*$)\w[\w.-]*", command):
                sys.exit(
                    f"ERROR: pyproject.toml has the command {command!r} = {reference!r}, which is "
                    'not as in `train = "package.module:function"`: correct it, then build again.'
                )
            words = {"module": found[1], "attribute": found[2], "first": found[3]}
            files[venv / "bin" / command] = SCRIPT.format(python=python, **words)
    record = ""
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)  # it may be a hard link into uv's cache
        file.write_text(text)
        file.chmod(0o755 if file.parent.name == "bin" else 0o644)
        digest = urlsafe_b64encode(sha256(text.encode()).digest()).decode().rstrip("=")
        record += f"{os.path.relpath(file, site)},sha256={digest},{len(text.encode())}\n"
    (info / "RECORD").write_text(f"{record}{info.name}/RECORD,,\n")


if __name__ == "__main__":
    environment = Path(sys.argv[2], "app/.venv")
    environment.mkdir(parents=True)
    write(tomllib.loads(Path(sys.argv[1]).read_text()), environment, "/app/.venv/bin/python")
