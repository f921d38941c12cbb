"""finish_tree.py [TREE]: compile the bytecode of TREE/app/.venv, and give its files one fixed time.

The same packages then make the same layer, bit for bit, and a user who may not write bytecode
imports torch in two thirds of the time. Run it in the RUN that installs: a later RUN would copy the
whole tree into a second layer.
"""

import os
import re
import sys
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from py_compile import PycInvalidationMode, compile

TIME = 315532800  # 1980-01-01, the earliest time in a zip file
# Packages' own tests are a third of all files, and only a test runner imports them.
TESTS = re.compile(r"/tests/(.*/)?test_[^/]*$")


def compile_one(tree: str, path: str) -> None:
    """Compile one file, if it is Python 3.11: some packages have files for other versions.

    checked-hash is bytecode without a time, which still notices an edited source
    (https://peps.python.org/pep-0552/).
    """
    mode = PycInvalidationMode.CHECKED_HASH
    compile(path, dfile=f"/{path.removeprefix(tree).lstrip('/')}", quiet=2, invalidation_mode=mode)


def finish(tree: Path, venv: Path) -> None:
    """Compile and clean the environment below `tree`."""
    (venv / ".lock").unlink(missing_ok=True)  # uv's, writable for everybody
    sources = []
    for path in venv.rglob("*.py*"):
        if not TESTS.search(str(path)):
            sources += [str(path)] if path.suffix == ".py" else []
        elif path.suffix == ".pyc":
            path.unlink()
    # compileall hands out one file at a time, which takes a fifth longer.
    with Pool() as pool:
        sources.sort(key=os.path.getsize, reverse=True)
        for _ in pool.imap_unordered(partial(compile_one, str(tree)), sources, chunksize=8):
            pass
    top = tree if tree.name else venv
    for path in (*top.rglob("*"), top):
        mode = path.lstat().st_mode
        if mode & 0o022 and not path.is_symlink():  # as some wheels say
            path.chmod(mode & 0o7755)
        os.utime(path, (TIME, TIME), follow_symlinks=False)
    # The mounts of a step touch these.
    for name in ("", "app", "etc", "mnt", "opt", "root", "run", "tmp"):
        os.utime(f"/{name}", (TIME, TIME))


if __name__ == "__main__":
    top = Path((sys.argv[1:] or [""])[0] or "/")
    finish(top, top / os.environ["VIRTUAL_ENV"].lstrip("/"))
