"""split_layers.py TREE LAYERS METADATA LARGE SMALL: divide an environment's packages among layers.

LAYERS/1 to LAYERS/<LARGE> get one large package each, and the next <SMALL> the small ones. They are
trees with the files of TREE, under their full paths. Nothing is copied: the files are hard links.
A package's tree depends on that package alone. So an edit of the dependencies changes the layers of
the packages that change, and no other. A file of several packages is like one more package.
METADATA gets the packages' metadata.
"""

import csv
import os
import re
import sys
import zlib
from collections import defaultdict
from importlib.util import cache_from_source
from pathlib import Path

# Large packages come first, since an engine unpacks a layer again when a layer below it changes.
LARGE_BYTES = 20 * 10**6  # unpacked, with bytecode
TIME = 315532800  # 1980-01-01, as torchcrate/stages/install/finish_tree.py has it


def packages(tree: Path) -> dict[str, set[Path]]:
    """Return {package: its files, with bytecode}, from the packages' RECORDs.

    '' has the files of several packages, such as tests/__init__.py: such a file must stay in its
    layer when one of them comes or goes.
    """
    owner: dict[str, str] = {}
    for record in tree.glob("app/.venv/lib/python3.*/site-packages/*.dist-info/RECORD"):
        site = record.parent.parent
        name = re.sub(r"[-_.]+", "-", record.parent.name.partition("-")[0]).lower()
        for listed, *_ in csv.reader(record.read_text().splitlines()):
            file = os.path.normpath(site / listed)
            compiled = [cache_from_source(file)] if file.endswith(".py") else []
            for path in filter(os.path.lexists, (file, *compiled)):
                owner[path] = name if owner.get(path, name) == name else ""
    found = defaultdict(set)
    for file, name in owner.items():
        found[name].add(Path(file))
    return found


def layers(sizes: dict[str, int], large: int, small: int) -> dict[str, int]:
    """Return {package: its layer, from 1} for packages of sizes in bytes.

    A name decides. If a large package's layer is taken, it gets the next free one.
    """
    found: dict[str, int] = {}
    for package in sorted(sizes, key=lambda name: (zlib.crc32(name.encode()), name)):
        number = zlib.crc32(package.encode())
        if sizes[package] < LARGE_BYTES:
            found[package] = large + number % small + 1
            continue
        places = [(number + step) % large + 1 for step in range(large)]
        taken = set(found.values())
        found[package] = next((place for place in places if place not in taken), places[0])
    return found


def split(tree: Path, target: Path, metadata: Path, large: int, small: int) -> None:
    """Link the files of an environment into the trees."""
    metadata.mkdir(parents=True)
    for file in tree.glob("app/.venv/lib/python3.*/site-packages/*.dist-info/METADATA"):
        (metadata / file.parent.name).mkdir()
        os.link(file, metadata / file.parent.name / file.name)
    for number in range(1, large + small + 1):
        (target / str(number)).mkdir(parents=True)
    owned = packages(tree)
    sizes = {name: sum(file.lstat().st_size for file in files) for name, files in owned.items()}
    for package, number in layers(sizes, large, small).items():
        for file in owned[package]:
            link = target / str(number) / file.relative_to(tree)
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, link, follow_symlinks=False)
    for folder, _, _ in os.walk(target, topdown=False):
        os.utime(folder, (TIME, TIME))


if __name__ == "__main__":
    split(*map(Path, sys.argv[1:4]), *map(int, sys.argv[4:]))
