"""/app/.venv has the packages in the two locks, no more and no less."""

import json

from packaging.markers import Marker

from torchcrate.stages.locks import dist_info, split_locks

INSTALLED = """
import importlib.metadata as m, json
print(json.dumps([[d.metadata["Name"], d.version] for d in m.distributions(path=[
    "/app/.venv/lib/python3.11/site-packages"])]))
"""


def of_poetry(project, platform, groups, extras):
    """Return {name: version} that poetry.lock has for an image, without the torch family."""
    lock = split_locks.read_lock(project)
    family = split_locks.family(lock)
    found = {}
    for package in lock["package"]:
        markers = package.get("markers", "")
        for group in groups & set(package["groups"]):
            marker = markers.get(group, "") if isinstance(markers, dict) else markers
            applies = not marker or any(
                Marker(marker).evaluate({**platform, "extra": extra}) for extra in ["", *extras]
            )
            if package["name"] not in family and applies:
                found[split_locks.normalize(package["name"])] = package["version"]
    return found


def test_installed_packages(host, image, machine, torch_lock, seen):
    """They are those of the torch lock, of poetry.lock's chosen groups and extras, and yours."""
    installed = json.loads(host.check_output("python -c %s", INSTALLED))
    found = {split_locks.normalize(name): version for name, version in installed}
    assert len(found) == len(installed), "a package is there twice"
    wanted = split_locks.listed(image.build_arg("DEPENDENCY_GROUPS"))
    if image.stage == "dev":
        wanted += split_locks.listed(image.build_arg("DEV_GROUPS"))
    groups = {*wanted, split_locks.EXTENSIONS}
    extras = split_locks.listed(image.build_arg("EXTRAS"))
    release = host.check_output("python -c 'import platform; print(platform.python_version())'")
    platform = {**split_locks.LINUX, "platform_machine": machine, "python_full_version": release}
    locked = of_poetry(image.project, platform, groups, extras) | torch_lock
    own, version = dist_info.named(split_locks.read(image.project / "pyproject.toml"))
    locked |= {split_locks.normalize(own): version} if own else {}
    wrong = {
        name: f"installed {found.get(name)}, locked {locked.get(name)}"
        for name in found.keys() | locked.keys()
        if found.get(name) != locked.get(name)
    }
    assert not wrong, f"not as locked: {wrong}"
    seen(f"{len(found)} packages")


def test_own_commands(host, image, seen):
    """The commands of [project.scripts] are on PATH and run in /app/.venv."""
    points = dist_info.entry_points(split_locks.read(image.project / "pyproject.toml"))
    commands = points.get("console_scripts", {})
    for command in commands:
        first = host.check_output("head -1 $(command -v %s)", command)
        assert first == "#!/app/.venv/bin/python", f"{command} begins with {first}"
    seen(", ".join(commands) or "pyproject.toml has none")
