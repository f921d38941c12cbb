"""A Poetry plugin that leaves the torch family as the image's torch lock has it.

poetry.lock knows torch's version and not its build, so without this `poetry install` in `dev` would
put the default index's torch in the place of the locked one, and its CUDA packages beside it. Only
where Poetry installs into an environment that keeps a torch lock (see torch_lock) are operations on
the family skipped; pyproject.toml and poetry.lock are written as ever.
"""

from cleo.events.console_command_event import ConsoleCommandEvent
from cleo.events.console_events import COMMAND
from cleo.events.event import Event
from cleo.events.event_dispatcher import EventDispatcher
from poetry.console.application import Application
from poetry.console.commands.installer_command import InstallerCommand
from poetry.installation.operations.operation import Operation
from poetry.installation.operations.update import Update
from poetry.plugins.application_plugin import ApplicationPlugin

from torchcrate.stages.dev import torch_lock
from torchcrate.stages.locks import split_locks


class HoldTorch(ApplicationPlugin):
    """The plugin."""

    def activate(self, application: Application) -> None:
        """Have every command looked at before it runs."""
        # Poetry's own listeners, which give a command its installer, were added first.
        application.event_dispatcher.add_listener(COMMAND, hold)


def hold(event: Event, _name: str, _dispatcher: EventDispatcher) -> None:
    """Have a command's installer skip the family, if the command has one and the image a lock."""
    assert isinstance(event, ConsoleCommandEvent)
    command, io = event.command, event.io
    if not isinstance(command, InstallerCommand):
        return
    lock = torch_lock.find(command.env.path)
    if not lock:
        return
    executor, locker = command.installer.executor, command.poetry.locker
    execute = executor.execute

    def execute_the_others(operations: list[Operation]) -> int:
        packages = locker.lock_data.get("package", []) if locker.is_locked() else []
        # `add` and `update` write poetry.lock afterwards: what is new is known here alone.
        for each in operations:
            needs = {need.name for need in each.package.requires}
            packages = [*packages, {"name": each.package.name, "dependencies": needs}]
        held = torch_lock.held(lock, packages)
        # What is compiled against torch only a build of the image makes, which has no isolation.
        held |= split_locks.groups(command.poetry.pyproject.data).get(split_locks.EXTENSIONS, set())
        for each in operations:
            if each.package.name in held and not each.skipped:
                each.skip(f"torch's build {torch_lock.build(lock)} is held")
                line = torch_lock.why(lock, each.package.name, *versions(each))
                if line:
                    io.write_error_line(f"<warning>{line}</warning>")
        return execute(operations)

    executor.execute = execute_the_others


def versions(operation: Operation) -> tuple[str | None, str | None]:
    """Return the version that is there and the one that Poetry wants, None for none."""
    if isinstance(operation, Update):
        return str(operation.initial_package.version), str(operation.target_package.version)
    version = str(operation.package.version)
    return (version, None) if operation.job_type == "uninstall" else (None, version)
