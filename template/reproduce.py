"""Build an image twice from nothing and compare its layers, bit for bit: `./crate reproduce`.

Each build downloads everything: `--no-cache` empties cache mounts too. BUILD and the variables of
docker-bake.hcl choose the image, as for `./crate run`. If a layer differs, the command names the
files that differ, and the exit code is 1.
"""

from __future__ import annotations  # a Mac's own Python is 3.9

import hashlib
import json
import subprocess
import tarfile
from argparse import Namespace

from template import cache
from torchcrate import build, engine
from torchcrate.host import fail, say

SHOWN = 20

# {path: (type, mode, owner, group, link, time in seconds since 1970, size in bytes, digest)}
Files = dict
FACTS = ("type", "mode", "owner", "group", "link", "time", "size", "content")


def digests(environment: engine.Environment, tag: str) -> list[str]:
    """Return the digests of an image's unpacked layers, from the lowest to the top."""
    words = ["docker", "image", "inspect", "--format", "{{json .RootFS.Layers}}", tag]
    found = engine.quiet(words, environment)
    return json.loads(found) if found else fail(f"there is no image {tag}.")


def read(layer: tarfile.TarFile) -> Files:
    """Return the files in a layer; a name that begins with .wh. marks a deleted file."""
    found = {}
    for entry in layer:
        content = layer.extractfile(entry) if entry.isfile() else None
        digest = hashlib.sha256(content.read()).hexdigest() if content else ""
        found[entry.name] = (
            *(entry.type.decode(), oct(entry.mode), entry.uid, entry.gid, entry.linkname),
            *(int(entry.mtime), entry.size, digest),
        )
    return found


def layers(environment: engine.Environment, tag: str, wanted: set[int]) -> dict[int, Files]:
    """Return {number of a wanted layer: its files}; the lowest layer is number 0.

    Reads `docker save` twice, because the list of layers comes after the layers.
    """
    names: list[str] = []
    found = {}
    for reading in ("list", "layers"):
        command = ["docker", "save", tag]
        with (
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as save,
            tarfile.open(fileobj=save.stdout, mode="r|") as archive,
        ):
            for entry in archive:
                if reading == "list" and entry.name == "manifest.json":
                    names = json.load(archive.extractfile(entry))[0]["Layers"]
                elif reading == "layers" and entry.name in {names[i] for i in wanted}:
                    with tarfile.open(fileobj=archive.extractfile(entry), mode="r|*") as layer:
                        content = read(layer)
                    found.update({i: content for i in wanted if names[i] == entry.name})
    return found


def difference(first: tuple | None, second: tuple | None) -> str:
    """Describe how two files differ."""
    if first is None or second is None:
        return f"only in the {'second' if first is None else 'first'}"
    return ", ".join(
        f"{fact} {first[i]} and {second[i]}" if fact != "content" else fact
        for i, fact in enumerate(FACTS)
        if first[i] != second[i]
    )


def compare(first: dict[int, Files], second: dict[int, Files]) -> list[str]:
    """Return a line for each file that differs between two images' layers of the same number."""
    lines = []
    for number in sorted(first):
        one, two = first[number], second.get(number, {})
        for path in sorted(one.keys() | two.keys()):
            if one.get(path) != two.get(path):
                said = difference(one.get(path), two.get(path))
                lines.append(f"layer {number + 1}, /{path}: {said}")
    return lines


def main(_options: Namespace) -> int:
    """Run `./crate reproduce`."""
    torch_build = build.choose_build()
    environment = engine.connect()
    tags = [f"{build.image_name()}:reproduce-{number}" for number in (1, 2)]
    before = cache.cached(environment)
    try:
        for tag in tags:
            say(f"Building {tag} from nothing")
            build.build(environment, torch_build, dev=False, tag=tag, options=("--no-cache",))
        first, second = (digests(environment, tag) for tag in tags)
        if len(first) != len(second):
            fail(f"{tags[0]} has {len(first)} layers and {tags[1]} {len(second)}.")
        different = [i for i, digest in enumerate(first) if second[i] != digest]
        for i, digest in enumerate(first):
            say(f"{i + 1:3} {digest} {'differs' if i in different else 'same'}")
        if not different:
            say("All layers are the same, bit for bit")
            return 0
        say("Looking for the files that differ")
        lines = compare(*(layers(environment, tag, set(different)) for tag in tags))
        say("\n".join(lines[:SHOWN]))
        if lines[SHOWN:]:
            say(f"… and {len(lines) - SHOWN} more")
        return 1
    finally:
        for tag in tags:
            engine.quiet(["docker", "image", "rm", tag], environment)
        cache.uncache(environment, cache.cached(environment) - before)
