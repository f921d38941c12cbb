"""split_layers.py VENV LAYERS: divide the packages of an environment among a few layers.

LAYERS/1 to LAYERS/8 become trees with the files of VENV, under their full paths. Each package is in
one tree. Nothing is copied: the files are hard links. A package's tree depends on that package
alone. So an edit of the dependencies changes the layers of the packages that change, and no other:
a small new package is pushed with a few small ones, not with NumPy. Files that no package lists, or
several, are like one more package.
"""

import os
import re
import sys
import zlib
from collections import defaultdict
from importlib.metadata import distributions
from importlib.util import cache_from_source
from pathlib import Path

# How many layers of each kind. Large packages have their own layers, so that a small one never
# moves with them. They come first, since an engine unpacks a layer again when a layer below it
# changes.
LARGE, SMALL = 4, 4
LARGE_BYTES = 5 * 10**6  # unpacked, with bytecode
TIME = 315532800  # 1980-01-01, as torchcrate/stages/base/finish-tree.sh has it


def owners(venv: Path) -> dict[Path, str]:
    """Return {file: its package}, from the packages' RECORDs.

    It is '' for a file of several packages, such as tests/__init__.py: that must stay in its layer
    when one of them comes or goes.
    """
    found: dict[Path, str] = {}
    for distribution in distributions(path=[str(venv / "lib/python3.11/site-packages")]):
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        for listed in distribution.files or ():
            path = Path(os.path.normpath(distribution.locate_file(listed)))
            compiled = [Path(cache_from_source(str(path)))] if path.suffix == ".py" else []
            for file in (path, *compiled):
                found[file] = name if found.get(file, name) == name else ""
    return found


def layer(package: str, size: int) -> int:
    """Return the number of the layer, from 1, for a package of a size in bytes."""
    number = zlib.crc32(package.encode())
    return number % LARGE + 1 if size >= LARGE_BYTES else LARGE + number % SMALL + 1


def packages(venv: Path) -> dict[str, list[Path]]:
    """Return {package: its files}. '' has those that no package lists, or several."""
    owner = owners(venv)
    found = defaultdict(list)
    for folder, folders, files in os.walk(venv):
        links = [name for name in folders if Path(folder, name).is_symlink()]
        for name in sorted(files + links):
            path = Path(folder, name)
            found[owner.get(path, "")].append(path)
    return found


def split(venv: Path, layers: Path) -> None:
    """Link the files of an environment into the trees."""
    for number in range(1, SMALL + LARGE + 1):
        (layers / str(number)).mkdir(parents=True)
    for package, files in packages(venv).items():
        number = layer(package, sum(path.lstat().st_size for path in files))
        for path in files:
            target = layers / str(number) / path.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, target, follow_symlinks=False)
    for folder, _, _ in os.walk(layers, topdown=False):
        os.utime(folder, (TIME, TIME))


if __name__ == "__main__":
    split(Path(sys.argv[1]), Path(sys.argv[2]))
