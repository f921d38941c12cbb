"""The OCI labels say what the image was made from."""

import re
import subprocess

import pytest

PREFIX = "org.opencontainers.image."


@pytest.fixture
def labels(image, engine):
    return engine.images.get(image.tag).labels


def git(image, *arguments):
    """Return what git prints in the image's project, or "" if it fails."""
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=image.project, capture_output=True, text=True)
    return done.stdout.strip()


def test_version(labels, image, seen):
    """The version is that of pyproject.toml, not the base image's."""
    text = (image.project / "pyproject.toml").read_text()
    found = re.search(r'^version = "(.+)"$', text, re.MULTILINE)
    expected = found.group(1) if found else ""  # pyproject.toml need not have one
    assert labels.get(f"{PREFIX}version") == expected
    seen(expected or "pyproject.toml has none")


def test_revision(labels, image, seen):
    """The revision is the commit."""
    revision = labels.get(f"{PREFIX}revision", "none")
    head = git(image, "rev-parse", "HEAD")
    assert revision.removesuffix("-dirty") == head, f"the image is of commit {revision}, not {head}"
    seen(revision)


def test_source(labels, image, seen):
    """The source is the address of git's origin, without a password."""
    origin = git(image, "remote", "get-url", "origin")
    source = labels.get(f"{PREFIX}source", "")
    assert source == re.sub(r"//[^/@]+@", "//", origin)
    seen(source or "git has no origin")


# {a file: what made its layer}
MADE = {
    "usr/bin/python3.11": "/mnt/base/install-python.sh",
    "app/.venv/lib/python3.11/site-packages/torch/__init__.py": "/mnt/install/wheels.sh",
}


def test_history(contents, seen):
    """The history names the instruction that made each layer."""
    for path, script in MADE.items():
        (made,) = [layer.created_by for layer in contents.layers if path in layer.entries]
        assert script in made, f"the history says that {made!r} made the layer with {path}"
    code = contents.layers[-1]
    assert all(re.match(r"app($|/src|/\.venv)", path) for path in code.entries)
    assert any(path.startswith("app/src/") for path in code.entries)
    assert code.created_by.startswith("COPY "), f"the code was made by {code.created_by!r}"
    seen(f"{len(contents.layers)} layers")


def test_base(labels, image, seen):
    """A label has the base image's name, and the base image's own labels are gone."""
    name = labels.get(f"{PREFIX}base.name")
    assert name, "no base image is named"
    if any(argument.startswith("BASE_IMAGE=") for argument in image.build_args):
        assert name == image.build_arg("BASE_IMAGE")
    assert not labels.get(f"{PREFIX}ref.name")
    seen(labels[f"{PREFIX}base.name"])
