"""Layers are read and merged as a container sees them."""

import io
import tarfile

import pytest
from backports import zstd

from torchcrate.testing import layers

CANARY = b"image-canary"


def tar(files, pack=bytes):
    """Return a tar file of {path: content}. None makes a folder."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            member.size = len(content or b"")
            archive.addfile(member, io.BytesIO(content or b""))
    return layers.Rest(b"", io.BytesIO(pack(file.getvalue())))


def image(*contents):
    found = [layers.read_layer(tar(files), CANARY)[0] for files in contents]
    return layers.Contents({}, [layers.Layer("", entries) for entries in found], [])


def test_upper_files():
    files = image({"etc/a": b"old", "etc/b": b"b"}, {"./etc/a": b"newer"}).files
    assert {path: entry.size for path, entry in files.items()} == {"etc/a": 5, "etc/b": 1}


@pytest.mark.parametrize(
    "whiteout, left", [("etc/.wh.a", {"etc", "etc/b", "x"}), ("etc/.wh..wh..opq", {"etc", "x"})]
)
def test_whiteouts_delete(whiteout, left):
    files = image({"etc": None, "etc/a/c": b"", "etc/b": b"", "x": b""}, {whiteout: b""}).files
    assert files.keys() == left


def test_opaque_whiteout():
    files = image({"etc/a": b""}, {"etc/.wh..wh..opq": b"", "etc/b": b""}).files
    assert files.keys() == {"etc/b"}


@pytest.mark.parametrize("before", [0, layers.CHUNK - 5])
def test_canary_across_chunks(before):
    entries, found = layers.read_layer(tar({"a": b"x" * before + CANARY, "b": b"none"}), CANARY)
    assert found == ["/a"]
    assert entries["b"].sha256.startswith("140bedbf9c3f6d56")


def test_text_of_named_files():
    entries, _ = layers.read_layer(tar({"var/lib/dpkg/status": b"text", "etc/a": b"text"}), CANARY)
    assert (entries["var/lib/dpkg/status"].text, entries["etc/a"].text) == ("text", "")


def test_zstd():
    packed = tar({"etc/a": b"text", "b": CANARY}, pack=zstd.compress)
    entries, found = layers.read_layer(layers.unpacked(packed), CANARY)
    assert entries.keys() == {"etc/a", "b"}
    assert found == ["/b"]
