"""All that VS Code's files name exists: Dockerfile, stage, folders, user, interpreter."""

import json
import re

import pytest

from torchcrate import build
from torchcrate.host import TOP

FILES = sorted((TOP / ".devcontainer").glob("*/devcontainer.json"))


def read(file):
    """Return a devcontainer.json without its lines of comments."""
    return json.loads(re.sub(r"^\s*//.*$", "", file.read_text(), flags=re.MULTILINE))


def test_one_for_each_dockerfile():
    assert [file.parent.name for file in FILES] == ["cpu", "gpu"]
    named = [(file.parent / read(file)["build"]["dockerfile"]).resolve() for file in FILES]
    assert named == [TOP / "Dockerfile.cpu", TOP / "Dockerfile"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_what_it_names_exists(file):
    found = read(file)
    dockerfile = (file.parent / found["build"]["dockerfile"]).read_text()
    assert (file.parent / found["build"]["context"]).resolve() == TOP
    assert re.search(rf"^FROM \w+ AS {found['build']['target']}$", dockerfile, re.MULTILINE)
    arguments = set(re.findall(r"^ARG (\w+)=$", dockerfile, re.MULTILINE))
    assert found["build"]["args"].keys() <= arguments  # which may be empty
    venv = re.search(r"VIRTUAL_ENV=(\S+)", dockerfile).group(1)
    settings = found["customizations"]["vscode"]["settings"]
    assert settings["python.defaultInterpreterPath"] == f"{venv}/bin/python"
    script = (TOP / "torchcrate/stages/dev/hold-torch.sh").read_text()
    assert re.search(rf"^useradd .* {found['remoteUser']}$", script, re.MULTILINE)
    assert found["containerEnv"]["HOME"] == f"/home/{found['remoteUser']}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_mounts(file, monkeypatch, tmp_path):
    monkeypatch.setattr(build.host, "index_url", lambda: "")
    monkeypatch.setattr(build.host, "ca_bundle", lambda: None)
    monkeypatch.setattr(build, "given", lambda: {})
    options = build.dev_options(TOP)
    made = {options[i + 1] for i, name in enumerate(options) if name == "--volume"}
    found = read(file)
    mounts = [found["workspaceMount"], *found["mounts"]]
    named = re.findall(r"source=(\S+),target=(\S+),type=bind", "\n".join(mounts))
    assert {f"{source}:{target}" for source, target in named} == {
        mount.replace(str(TOP), "${localWorkspaceFolder}") for mount in made
    }
    assert found["workspaceFolder"] == options[options.index("--workdir") + 1]
