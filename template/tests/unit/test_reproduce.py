"""How `./crate reproduce` reports two layers that differ."""

import io
import tarfile

import pytest

from template import reproduce


def layer(**changes):
    """Return the files that reproduce finds in a layer with one file."""
    content = changes.pop("content", b"words")
    entry = tarfile.TarInfo("app/file")
    entry.size = len(content)
    for name, value in changes.items():
        setattr(entry, name, value)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.addfile(entry, io.BytesIO(content))
    packed.seek(0)
    with tarfile.open(fileobj=packed) as tar:
        return reproduce.read(tar)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"mtime": 5}, "time 0 and 5"),
        ({"mode": 0o600}, "mode 0o644 and 0o600"),
        ({"uid": 7}, "owner 0 and 7"),
        ({"content": b"wards"}, "content"),
        ({"content": b"more words"}, "size 5 and 10, content"),
        ({"type": tarfile.SYMTYPE, "linkname": "x", "content": b""}, "type 0 and 2, link  and x"),
        ({"name": "app/.wh.file"}, "only in the"),
    ],
)
def test_difference(changes, says):
    lines = reproduce.compare({3: layer()}, {3: layer(**changes)})
    assert lines and all(line.startswith("layer 4, /app/") and says in line for line in lines)


def test_no_difference():
    assert reproduce.compare({0: layer()}, {0: layer()}) == []
