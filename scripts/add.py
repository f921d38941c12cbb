"""Add dependencies with Poetry, or remove them; behind `make add` and `make remove`.

    add.py add|remove WORDS...        WORDS as `poetry add` and `poetry remove` take them

Only pyproject.toml and poetry.lock change, both or neither.
"""

import sys

import host
import split_locks
from lock import TOP, relative_paths
from split_locks import LockError


def change(command: str, words: list[str]) -> None:
    """Have Poetry add or remove what the words say. Raises LockError where it cannot."""
    files = [TOP / "pyproject.toml", TOP / "poetry.lock"]
    before = {file: file.read_bytes() for file in files if file.is_file()}
    split_locks.check_addresses(*words, *(text.decode() for text in before.values()))
    try:
        if host.run(["poetry", command, "--lock", *words], cwd=TOP):
            raise LockError(f"`poetry {command}` failed (what it says is above).")
        if relative_paths() and host.run(["poetry", "lock"], cwd=TOP):
            raise LockError("poetry.lock was not made (what Poetry says is above).")
    except BaseException:  # Ctrl-C too
        for file, content in before.items():
            if file.read_bytes() != content:
                file.write_bytes(content)
        raise


if __name__ == "__main__":
    try:
        change(sys.argv[1], sys.argv[2:])
    except LockError as error:
        host.fail(str(error))
