"""The configuration of the image is what the contract knows, field by field.

The fields are those of https://github.com/opencontainers/image-spec/blob/main/config.md, written as
instructions of a Dockerfile. What your Dockerfile adds or changes goes into
tests/image/configuration.txt, an instruction a line: `ENV HF_HOME=/data`, `EXPOSE 80/tcp`.
"""

import itertools
import json
import re

import pytest

from torchcrate.testing import system
from torchcrate.testing.images import LABEL

# Fields of which each item is an instruction, and fields that are one.
EACH = {
    **{"Env": "ENV", "ExposedPorts": "EXPOSE", "Labels": "LABEL", "OnBuild": "ONBUILD"},
    "Volumes": "VOLUME",
}
ONE = {
    **{"Cmd": "CMD", "Entrypoint": "ENTRYPOINT", "Healthcheck": "HEALTHCHECK", "Shell": "SHELL"},
    **{"StopSignal": "STOPSIGNAL", "User": "USER", "WorkingDir": "WORKDIR"},
}
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Dockerfile says why each is there.
EVERY = {
    *("ENV LANG=C.UTF-8", "ENV PYTHONUNBUFFERED=1", "ENV VIRTUAL_ENV=/app/.venv", "WORKDIR /app"),
}
CERTIFICATES = ("CURL_CA_BUNDLE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
DEV = {
    *('CMD ["bash"]', "ENV HOME=/tmp", "ENV USER=dev", "ENV POETRY_HOME=/opt/poetry"),
    *(f"ENV {name}=/etc/ssl/certs/ca-certificates.crt" for name in CERTIFICATES),
}
RUNTIME = {"ENV HOME=/tmp", "ENV USER=app", "USER 10001:10001"}
GPU = {"ENV NVIDIA_VISIBLE_DEVICES=all", "ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility"}
# Their values: runtime/test_labels.py.
LABELS = {
    *(f"LABEL org.opencontainers.image.{name}" for name in ("base.name", "ref.name", "version")),
    *(f"LABEL org.opencontainers.image.{name}" for name in ("revision", "source")),  # buildx's
    "LABEL com.docker.image.source.entrypoint",  # buildx's too
    f"LABEL {LABEL.partition('=')[0]}",  # of an image that tests built
}


def exec_form(words):
    """Return what CMD says in Dockerfile as the configuration has it."""
    try:
        return json.dumps(json.loads(words))
    except ValueError:
        return json.dumps(["/bin/sh", "-c", words])


@pytest.fixture
def has(image, engine):
    """Return the configuration as instructions."""
    found = set()
    for field, value in engine.images.get(image.tag).attrs["Config"].items():
        if field in EACH:
            found |= {f"{EACH[field]} {item}" for item in value or ()}
        elif value and field != "ArgsEscaped":  # for Windows
            text = value if isinstance(value, str) else json.dumps(value)
            found.add(f"{ONE.get(field, field)} {text}")
    return found


@pytest.fixture
def of_base(image, engine):
    """Return what the base image's history says, in order: instructions, and names alone."""
    steps = [step["CreatedBy"] for step in reversed(engine.images.get(image.tag).history())]
    found = []
    for step in itertools.takewhile(lambda step: "install-python.sh" not in step, steps):
        match = re.search(r"^(?:/bin/sh -c #\(nop\) +)?([A-Z]+) (.*)", step, re.DOTALL)
        if not match:
            continue
        name, rest = match.groups()
        if name in ("ENV", "LABEL"):  # values may have spaces, and no quotes around them
            found += [f"{name} {each}" for each in re.findall(r"(?:^|\s)([\w.-]+)=", rest)]
        found.append(f"{name} {exec_form(rest) if name == 'CMD' else rest}")
    return found


def field(line):
    """Return an instruction's field: for ENV with the variable's name."""
    return line.partition("=")[0] if line.startswith("ENV ") else line.partition(" ")[0]


@pytest.fixture
def must(image, of_base):
    """Return the instructions that an image of this stage has."""
    path = [line[9:] for line in of_base if line.startswith("ENV PATH=")]
    path = [
        "/app/.venv/bin",
        *(path[-1:] or [SYSTEM_PATH]),
        *(["/opt/uv/bin"] if image.stage == "dev" else []),
    ]
    found = EVERY | {f"ENV PATH={':'.join(path)}"}
    if image.stage == "dev":
        return found | DEV
    if image.stage != "runtime":
        return found
    *_, command = re.findall(r"^CMD (.*)$", (image.project / "Dockerfile").read_text(), re.M)
    return (
        found | RUNTIME | {f"CMD {exec_form(command)}"} | (GPU if image.build != "cpu" else set())
    )


@pytest.fixture
def listed(image):
    """Return the project's own instructions."""
    return set(system.listed(image.project))


def test_nothing_unknown(has, must, of_base, listed, seen):
    """It has no variable, volume, port, label or other field that the contract does not know."""
    known = must | listed | LABELS | set(of_base)
    unknown = sorted(line for line in has if not {line, field(line)} & known)
    assert not unknown, f"{unknown}: take it out of Dockerfile, or add it to {system.LIST}"
    seen(f"{len(has)} fields, {len(has & listed)} of your own")


def test_nothing_missing(has, must, listed, seen):
    """It has each variable, the working directory, the user and the command, with their values."""
    changed = {field(line) for line in listed & has}
    missing = sorted(line for line in must - has if field(line) not in changed)
    assert not missing, f"missing: {missing}; if that is meant, add what there is to {system.LIST}"
    seen(f"{len(must)} fields")
