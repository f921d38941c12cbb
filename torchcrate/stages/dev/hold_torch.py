"""A Poetry plugin that does not touch the torch family in the image `dev`.

poetry.lock has torch's version but not its build. Without this plugin `poetry install` would
replace the image's torch by the default index's, with its CUDA packages. If Poetry installs into an
environment with a torch lock, the plugin skips operations on the family. The lock is
/app/.venv/torch.<build>.txt, a copy of the one in locks/ that the image was built from.
pyproject.toml and poetry.lock are written as usual.
"""

from pathlib import Path

from cleo.events.console_command_event import ConsoleCommandEvent
from cleo.events.console_events import COMMAND
from cleo.events.event import Event
from cleo.events.event_dispatcher import EventDispatcher
from poetry.console.application import Application
from poetry.console.commands.installer_command import InstallerCommand
from poetry.installation.operations.operation import Operation
from poetry.installation.operations.update import Update
from poetry.plugins.application_plugin import ApplicationPlugin

from torchcrate.stages.locks import split_locks


class HoldTorch(ApplicationPlugin):
    """The plugin."""

    def activate(self, application: Application) -> None:
        """Look at every command before it runs."""
        # Poetry's own listeners, which give a command its installer, were added first.
        application.event_dispatcher.add_listener(COMMAND, hold)


def hold(event: Event, _name: str, _dispatcher: EventDispatcher) -> None:
    """Let a command's installer skip the family, if there is an installer and a torch lock."""
    assert isinstance(event, ConsoleCommandEvent)
    command, io = event.command, event.io
    if not isinstance(command, InstallerCommand):
        return
    lock = find(command.env.path)
    if not lock:
        return
    executor, locker = command.installer.executor, command.poetry.locker
    execute = executor.execute

    def execute_the_others(operations: list[Operation]) -> int:
        packages = locker.lock_data.get("package", []) if locker.is_locked() else []
        named = {need.name for need in command.poetry.package.all_requires}
        packages = [*packages, {"name": "", "dependencies": named}]
        # `add` and `update` write poetry.lock later: only here the new packages are known.
        for each in operations:
            needs = {need.name for need in each.package.requires}
            packages = [*packages, {"name": each.package.name, "dependencies": needs}]
        held = held_by(lock, packages)
        # Only a build of the image compiles packages against torch.
        held |= split_locks.groups(command.poetry.pyproject.data).get(split_locks.EXTENSIONS, set())
        for each in operations:
            if each.package.name in held and not each.skipped:
                each.skip(f"torch's build {lock.name[6:-4]} is held")
                line = why(each.package.name, *versions(each))
                if line:
                    io.write_error_line(f"<warning>{line}</warning>")
        return execute(operations)

    executor.execute = execute_the_others


def versions(operation: Operation) -> tuple[str | None, str | None]:
    """Return the installed version and the one that Poetry wants, None for none."""
    if isinstance(operation, Update):
        return str(operation.initial_package.version), str(operation.target_package.version)
    version = str(operation.package.version)
    return (version, None) if operation.job_type == "uninstall" else (None, version)


def find(environment: Path) -> Path | None:
    """Return an environment's torch lock, or None."""
    return next(iter(sorted(environment.glob("torch.*.txt"))), None)


def held_by(lock: Path, packages: list[dict]) -> set[str]:
    """Return the names that Poetry must leave alone, given the packages of a poetry.lock.

    These are the lock's, for any machine, and the family in that poetry.lock: the default index's
    torch needs other CUDA packages than another build.
    """
    return split_locks.family({"package": packages}) | split_locks.pins(lock.read_text()).keys()


def why(name: str, there: str | None, wanted: str | None) -> str:
    """Return a sentence for the user if torch is not as poetry.lock wants it, else "".

    ``there`` and ``wanted`` are versions, or None. Another build of the wanted version is right.
    """
    public = [version.partition("+")[0] for version in (there, wanted) if version]
    if name not in split_locks.ROOTS or (len(public) == 2 and public[0] == public[1]):
        return ""
    return (
        f"{name} stays {there or 'away'} where poetry.lock wants {wanted or 'none'}: run "
        "`./crate lock` outside the container and build the image again."
    )
