"""What an image has, read from its layers without starting a container."""

import hashlib
import json
import posixpath
import re
import subprocess
import tarfile
from dataclasses import dataclass, field
from functools import cached_property
from typing import IO

from backports import zstd

CHUNK = 1 << 20  # bytes
ZSTD = b"\x28"  # the first byte of what zstd packed
# The files whose text the tests read. Of all others only the hash is kept.
READ = re.compile(
    r"app/\.venv/lib/python3\.11/site-packages/[^/]+\.dist-info/(RECORD|METADATA)"
    r"|app/\.venv/pyvenv\.cfg|var/lib/dpkg/info/[^/]+\.(list|md5sums|postinst)"
    r"|var/lib/(dpkg/(status|statoverride|diversions|(triggers|alternatives)/.+)|(systemd|ucf)/.+)|var/cache/debconf/.+"
    r"|etc/(timezone|profile\.d/venv\.sh|apt/.+)"
    r"|usr/(local/)?share/ca-certificates/.+\.crt|etc/(ssl/certs/ca-certificates\.crt|ca-certificates\.conf)"
)


@dataclass(frozen=True)
class Entry:
    """One file, folder or link, as a layer has it."""

    path: str  # from the root, without the leading slash
    type: bytes  # tarfile's
    mode: int
    uid: int
    gid: int
    mtime: float  # seconds since 1970
    size: int  # bytes
    sha256: str = ""  # of a regular file
    md5: str = ""  # of one outside /app, where apt's packages have no other hash
    target: str = ""  # of a link
    head: bytes = b""  # the first 16 bytes of a regular file
    text: str = field(default="", repr=False)  # of the files that READ names

    @property
    def is_folder(self) -> bool:
        """Whether this is a folder."""
        return self.type == tarfile.DIRTYPE

    @property
    def is_link(self) -> bool:
        """Whether this is a symbolic link, whose mode means nothing."""
        return self.type == tarfile.SYMTYPE


@dataclass(frozen=True)
class Layer:
    """One layer, its entries by path, and the instruction that made it."""

    created_by: str
    entries: dict[str, Entry]


@dataclass(frozen=True)
class Contents:
    """An image: its configuration with the history, its layers, and the secrets found."""

    config: dict
    layers: list[Layer]
    canaries: list[str]  # the places with the canary

    @property
    def own(self) -> int:
        """The index of the first layer that the Dockerfile added to its base image."""
        for index, layer in enumerate(self.layers):
            if "install-python.sh" in layer.created_by:
                return index
        raise AssertionError("no layer was made by torchcrate/stages/base/install-python.sh")

    @cached_property
    def files(self) -> dict[str, Entry]:
        """What a container would see, by path. Do not change it."""
        return self.merged(self.layers)

    @cached_property
    def base_files(self) -> dict[str, Entry]:
        """What the base image had, by path. Do not change it."""
        return self.merged(self.layers[: self.own])

    @staticmethod
    def merged(layers: list[Layer]) -> dict[str, Entry]:
        """Return what a container would see of these layers, by path."""
        seen: dict[str, Entry] = {}
        for layer in layers:
            for path in layer.entries:
                folder, name = posixpath.split(path)
                if name == ".wh..wh..opq":  # hides the folder in all layers below
                    seen = {p: e for p, e in seen.items() if not p.startswith(f"{folder}/")}
                elif name.startswith(".wh."):
                    gone = posixpath.join(folder, name[4:])
                    seen = {
                        p: e for p, e in seen.items() if p != gone and not p.startswith(f"{gone}/")
                    }
            seen |= {
                path: entry
                for path, entry in layer.entries.items()
                if not posixpath.basename(path).startswith(".wh.")
            }
        return seen


# {name in `docker save`: (entries, places with the canary)} of the layers that this process read.
known: dict[str, tuple[dict[str, Entry], list[str]]] = {}


def read(tag: str, canary: bytes) -> Contents:
    """Read an image with `docker save`, and look for a canary in all of it."""
    texts, canaries = save(tag, canary)
    (manifest,) = json.loads(texts["manifest.json"])
    config = json.loads(texts[manifest["Config"]])
    made = [entry for entry in config["history"] if not entry.get("empty_layer")]
    # An imported image has one layer more than its history, at the bottom. More history than layers
    # is an error, which test_history finds.
    count = len(manifest["Layers"])
    made = ([{}] * (count - len(made)) + made)[-count:]
    found = [layer(name) for name in manifest["Layers"]]
    layers = [
        Layer(entry.get("created_by", ""), entries)
        for entry, (entries, _) in zip(made, found, strict=True)
    ]
    return Contents(config, layers, canaries + [path for _, paths in found for path in paths])


def save(tag: str, canary: bytes) -> tuple[dict[str, bytes], list[str]]:
    """Read an image's layers; return its other files, and which of those have the canary."""
    texts: dict[str, bytes] = {}
    canaries: list[str] = []
    command = ["docker", "save", tag]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as save:
        with tarfile.open(fileobj=save.stdout, mode="r|", bufsize=CHUNK) as outer:
            for member in outer:
                # Docker 25 and newer write blobs, older ones json files and layer.tar.
                if not member.isreg() or not re.search(r"^blobs/|json$|/layer\.tar$", member.name):
                    continue
                stream = outer.extractfile(member)
                head = stream.read(1)
                if head in (b"{", b"["):
                    texts[member.name] = head + stream.read()
                    if canary in texts[member.name]:
                        canaries.append(f"the image's {member.name}")
                elif head:
                    layer(member.name, unpacked(Rest(head, stream)), canary)
        if save.wait():
            raise RuntimeError(f"`docker save {tag}` failed")
    return texts, canaries


def layer(
    name: str, stream: IO[bytes] | None = None, canary: bytes = b""
) -> tuple[dict[str, Entry], list[str]]:
    """Return what `read_layer` returns. Each layer is read once."""
    if name not in known:
        known[name] = read_layer(stream, canary)
    return known[name]


class Rest:
    """A stream whose first bytes have been read already."""

    def __init__(self, head: bytes, stream: IO[bytes]) -> None:
        """Take the bytes and the stream that they came from."""
        self.head, self.stream = head, stream

    def read(self, size: int = -1) -> bytes:
        """Read like any file."""
        head, self.head = self.head, b""
        return head + self.stream.read(size - len(head) if size >= 0 else size)


def unpacked(stream: Rest) -> IO[bytes]:
    """Return a stream to read a layer from, whether or not it is packed with zstd.

    tarfile itself unpacks gzip.
    """
    head = stream.read(1)
    stream.head = head
    return zstd.ZstdFile(stream) if head == ZSTD else stream


def read_layer(stream: IO[bytes], canary: bytes) -> tuple[dict[str, Entry], list[str]]:
    """Return a layer's entries by path, and the paths where the canary is."""
    entries: dict[str, Entry] = {}
    canaries: list[str] = []
    with tarfile.open(fileobj=stream, mode="r|*", bufsize=CHUNK) as layer:
        for member in layer:
            path = posixpath.normpath(member.name).lstrip("/")
            digest, md5, head, text, tail = "", "", b"", [], b""
            if member.isreg():
                sha256, file = hashlib.sha256(), layer.extractfile(member)
                weak = None if path.startswith("app/") else hashlib.md5(usedforsecurity=False)
                keep = READ.fullmatch(path)
                for chunk in iter(lambda file=file: file.read(CHUNK), b""):
                    sha256.update(chunk)
                    if weak:
                        weak.update(chunk)
                    head = head or chunk[:16]
                    if canary in tail + chunk:
                        canaries.append(f"/{path}")
                    tail = chunk[-len(canary) :]
                    if keep:
                        text.append(chunk)
                digest, md5 = sha256.hexdigest(), weak.hexdigest() if weak else ""
            elif member.islnk() and posixpath.normpath(member.linkname) in entries:
                linked = entries[posixpath.normpath(member.linkname)]
                digest, md5 = linked.sha256, linked.md5
            entries[path] = Entry(
                path=path,
                type=member.type,
                mode=member.mode,
                uid=member.uid,
                gid=member.gid,
                mtime=member.mtime,
                size=member.size,
                sha256=digest,
                md5=md5,
                target=member.linkname,
                head=head,
                text=b"".join(text).decode(errors="replace"),
            )
    return entries, canaries
