"""What is installed in /app/.venv is what both locks say, no more and no less."""

import json
import tomllib

from packaging.markers import Marker

import split_locks

INSTALLED = """
import importlib.metadata as m, json
print(json.dumps({d.metadata["Name"]: d.version for d in m.distributions(path=[
    "/app/.venv/lib/python3.11/site-packages"])}))
"""
PLATFORM = {
    "python_version": "3.11",
    "python_full_version": "3.11.9",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "os_name": "posix",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
    "extra": "",
}


def of_poetry(project, machine):
    """Return {name: version} that poetry.lock has for the images, without the torch family."""
    lock = tomllib.loads((project / "poetry.lock").read_text())
    family = split_locks.family(lock)
    found = {}
    for package in lock["package"]:
        markers = package.get("markers", "")
        marker = markers.get("main", "") if isinstance(markers, dict) else markers
        applies = not marker or Marker(marker).evaluate({**PLATFORM, "platform_machine": machine})
        if "main" in package["groups"] and package["name"] not in family and applies:
            found[split_locks.normalize(package["name"])] = package["version"]
    return found


def test_installed_packages(runtime, inside):
    host = inside(runtime)
    installed = json.loads(host.check_output("python -c %s", INSTALLED))
    torch_lock = (runtime.project / f"locks/torch.{runtime.build}.txt").read_text()
    expected = of_poetry(runtime.project, host.check_output("uname -m")) | split_locks.pins(
        torch_lock
    )
    assert {split_locks.normalize(n): v for n, v in installed.items()} == expected


def test_torch_is_the_lower_layer(runtime, engine):
    history = [entry["CreatedBy"] for entry in engine.images.get(runtime.tag).history()]
    torch = next(i for i, step in enumerate(history) if "install-torch.sh" in step)
    deps = next(i for i, step in enumerate(history) if step.startswith("COPY /app/.venv"))
    code = next(i for i, step in enumerate(history) if step.startswith("COPY src"))
    assert code < deps < torch  # newest first
