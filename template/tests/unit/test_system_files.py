"""The rules for files outside /app, without an image."""

import hashlib
import runpy
import tarfile

import pytest

from template.tests.common import CONTRACT
from torchcrate.testing import layers, system

AWK = "/usr/bin/awk\nnawk\n/usr/bin/nawk\n\n/usr/bin/mawk\n5\n/usr/bin/mawk\n"
MORE = AWK + "/usr/bin/gawk\n10\n/usr/bin/gawk\n"


def entry(path, text):
    """Return a file, or with `-> target` a link, with `|` a pipe."""
    kind = {"->": tarfile.SYMTYPE, "|": tarfile.FIFOTYPE}.get(text[:2].strip(), tarfile.REGTYPE)
    plain = text if kind == tarfile.REGTYPE else ""
    sha256, md5 = (h(plain.encode()).hexdigest() for h in (hashlib.sha256, hashlib.md5))
    more = {"sha256": sha256, "md5": md5, "text": plain} if kind == tarfile.REGTYPE else {}
    target = text.removeprefix("-> ") if kind == tarfile.SYMTYPE else ""
    return layers.Entry(path, kind, 0o644, 0, 0, 0, len(plain), target=target, **more)


def package(name, version, *paths, **files):
    """Return the files of dpkg's database for a package, with its paths, and its files by path."""
    sums = "".join(f"{entry('', text).md5}  {path}\n" for path, text in files.items())
    info = f"var/lib/dpkg/info/{name}"
    return {
        "var/lib/dpkg/status": f"Package: {name}\nStatus: x\nVersion: {version}\n\n",
        f"{info}.list": "".join(f"/{path}\n" for path in [*paths, *files]),
        f"{info}.md5sums": sums,
        f"{info}.postinst": "update-alternatives --install /usr/bin/awk awk /usr/bin/gawk 10",
        **files,
    }


def image(*layers_):
    """Return the contents of a base image and of another layer on it."""
    found = []
    for number, files in enumerate(layers_):
        made = "install-python.sh" if number else "the base image"
        found.append(layers.Layer(made, {p: entry(p, text) for p, text in files.items()}))
    return layers.Contents({}, found, [])


BASE = package(
    *("base", "1", "usr/bin/sh", "usr/bin/mawk", "usr/bin/gawk"),
    **{"usr/bin/env": "env", "usr/bin/dash": "dash"},
)
BASE |= {"usr/bin/sh": "-> dash", "usr/bin/mawk": "1", "usr/bin/gawk": "2"}
BASE |= {"usr/bin/awk": "-> /etc/alternatives/awk", "etc/alternatives/awk": "-> /usr/bin/mawk"}
BASE |= {"var/lib/dpkg/alternatives/awk": f"auto\n{AWK}\n"}
MANUAL = {"var/lib/dpkg/alternatives/awk": f"manual\n{AWK}\n"}
NEWER = {"var/lib/dpkg/status": "Package: base\nVersion: 2\n\n"}
PACKAGED, WRITTEN = "is not as apt's package has it", "is not as apt's scripts write it"
LINKS = "etc/alternatives/"


@pytest.mark.parametrize(
    ("base", "more", "path", "says"),
    [
        ({}, {"usr/bin/env": "env"}, "usr/bin/env", ""),
        ({}, {"usr/bin/env": "mine"}, "usr/bin/env", PACKAGED),
        ({}, {"usr/bin/env": "-> dash"}, "usr/bin/env", PACKAGED),
        ({}, {"usr/bin/env": "|"}, "usr/bin/env", PACKAGED),
        ({}, {"usr/bin/sh": "-> env"}, "usr/bin/sh", PACKAGED),
        ({}, {"usr/bin/sh": "-> env", **NEWER}, "usr/bin/sh", ""),
        ({}, {"usr/bin/sh": "-> /tmp/sh", **NEWER}, "usr/bin/sh", PACKAGED),
        ({}, {"usr/bin/sh": "-> /etc/localtime", **NEWER}, "usr/bin/sh", ""),
        ({}, {"usr/bin/mine": "-> env"}, "usr/bin/mine", "no apt package has"),
        ({}, {"usr/bin/mine": "-> /etc/alternatives/../../x"}, "usr/bin/mine", "no apt package"),
        ({}, {"usr/bin/mine": "-> /etc/alternatives/awk"}, "usr/bin/mine", "no apt package has"),
        ({}, {"usr/bin/nawk": "-> /etc/alternatives/nawk"}, "usr/bin/nawk", ""),
        ({}, {f"{LINKS}nawk": "-> /usr/bin/mawk"}, f"{LINKS}nawk", ""),
        ({}, {f"{LINKS}awk": "-> /usr/bin/gawk"}, f"{LINKS}awk", WRITTEN),
        ({}, {f"{LINKS}awk": "/usr/bin/mawk"}, f"{LINKS}awk", WRITTEN),
        (
            *({}, {"var/lib/dpkg/alternatives/awk": f"auto\n{MORE}\n"}),
            *("var/lib/dpkg/alternatives/awk", ""),
        ),
        ({}, MANUAL, "var/lib/dpkg/alternatives/awk", WRITTEN),
        (
            *({}, {"var/lib/dpkg/alternatives/pip": "auto\n/usr/bin/pip\n\n/usr/bin/gawk\n1\n\n"}),
            *("var/lib/dpkg/alternatives/pip", WRITTEN),
        ),
        ({}, {"etc/rc3.d/S01x": "-> /usr/bin/env"}, "etc/rc3.d/S01x", WRITTEN),
        ({}, {"etc/localtime": "-> /usr/bin/env"}, "etc/localtime", WRITTEN),
        ({}, {"etc/systemd/system/x": "-> /dev/null"}, "etc/systemd/system/x", ""),
        (
            *(MANUAL, {"var/lib/dpkg/alternatives/awk": f"manual\n{MORE}\n"}),
            *("var/lib/dpkg/alternatives/awk", ""),
        ),
        (
            *({}, {"var/lib/dpkg/alternatives/awk": f"auto\n{MORE}\n".replace("gawk", "sh")}),
            *("var/lib/dpkg/alternatives/awk", ""),
        ),
        (
            *({}, {"var/lib/dpkg/alternatives/awk": f"auto\n{MORE}\n".replace("gawk", "x")}),
            *("var/lib/dpkg/alternatives/awk", WRITTEN),
        ),
        ({}, {"usr/bin/python3": "-> python3.11"}, "usr/bin/python3", ""),
        ({}, {"usr/bin/python3": "-> sh"}, "usr/bin/python3", WRITTEN),
        ({}, {"usr/bin/python.distrib": "-> python3"}, "usr/bin/python.distrib", ""),
        ({}, {"var/lib/dpkg/statoverride": "\n"}, "var/lib/dpkg/statoverride", ""),
        ({}, {"var/lib/dpkg/statoverride": "-> /tmp/x"}, "var/lib/dpkg/statoverride", WRITTEN),
        ({}, {"var/log/x": ""}, "var/log/x", ""),
        ({}, {"var/log/x": "1"}, "var/log/x", WRITTEN),
        ({}, {"var/log/x": "|"}, "var/log/x", WRITTEN),
        ({}, {"etc/apt/sources.list": "-> /tmp/x"}, "etc/apt/sources.list", WRITTEN),
        ({}, {"opt/x": "1"}, "opt/x", "no apt package has /opt/x"),
        ({}, {"opt/mine/a/b": "1"}, "opt/mine/a/b", ""),
    ],
)
def test_rules(tmp_path, base, more, path, says):
    (tmp_path / "tests/image").mkdir(parents=True)
    (tmp_path / system.LIST).write_text("ENV A=1\n# files\n/opt/mine/*\n")
    rules = system.System(image(BASE | base, more), tmp_path)
    assert set(rules.new()) == more.keys() - {p for p in more if more[p] == BASE.get(p)}
    said = rules.wrong(path)
    assert (says in said and bool(said)) if says else said == ""


def gone(*paths):
    """Return an image's layer without these files of its base."""
    return {f"{path.rpartition('/')[0]}/.wh.{path.rpartition('/')[2]}": "" for path in paths}


@pytest.mark.parametrize(
    ("before", "without", "after", "missing"),
    [
        ({"usr/lib/python3/a.py": "1"}, ["usr/lib/python3/a.py"], {}, True),
        ({"usr/lib/python3/a.py": "1"}, ["usr/lib/python3/a.py"], {"b": "1"}, False),
        ({}, ["etc/os-release"], {}, True),
        ({}, ["etc/ssl/certs/Old.pem"], {}, False),
        (
            *({"usr/lib/python3/a.py": "1"}, ["usr/lib/python3/__pycache__/a.cpython-310.pyc"]),
            *({"b": "1"}, False),
        ),
        ({}, ["usr/lib/python3/__pycache__/a.cpython-310.pyc"], {}, True),
    ],
)
def test_nothing_gone(before, without, after, missing):
    test = runpy.run_path(str(CONTRACT[0] / "runtime/test_system_files.py"))["test_nothing_gone"]
    base = package("one", "1", **before) | dict.fromkeys(without, "1")
    new = package("one", "2", **after) if after else {}
    found = image(base, new | gone(*without))
    if missing:
        with pytest.raises(AssertionError, match="missing: "):
            test(found, print)
    else:
        test(found, print)
