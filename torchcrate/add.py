"""Add dependencies with Poetry, or remove them: `./crate add` and `./crate remove`.

Only pyproject.toml and poetry.lock change, both or neither.
"""

from argparse import Namespace

from torchcrate import host
from torchcrate.host import TOP
from torchcrate.lock import relative_paths
from torchcrate.stages.locks import split_locks
from torchcrate.stages.locks.split_locks import LockError


def add(options: Namespace) -> None:
    """Let Poetry add what the words name."""
    change("add", options.words)


def remove(options: Namespace) -> None:
    """Let Poetry remove what the words name."""
    change("remove", options.words)


def change(command: str, words: list[str]) -> None:
    """Let Poetry add or remove packages. Ends the program if it cannot."""
    if not words:
        host.fail(f"say which package: `./crate {command} lightning`.")
    files = [TOP / "pyproject.toml", TOP / "poetry.lock"]
    before = {file: file.read_bytes() for file in files if file.is_file()}
    try:
        split_locks.check_addresses(*words, *(text.decode() for text in before.values()))
        if host.run(["poetry", command, "--lock", *words], cwd=TOP):
            raise LockError(f"`poetry {command}` failed (Poetry's message is above).")
        if relative_paths() and host.run(["poetry", "lock"], cwd=TOP):
            raise LockError("poetry.lock was not made (Poetry's message is above).")
    except BaseException as error:  # Ctrl-C too
        for file, content in before.items():
            if file.read_bytes() != content:
                file.write_bytes(content)
        if isinstance(error, LockError):
            host.fail(str(error))
        raise
