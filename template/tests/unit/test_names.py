"""Every link, and every path in a document, hook, workflow or renovate.json, exists."""

import re
import subprocess

import pytest

from torchcrate.host import TOP

LISTED = subprocess.run(["git", "ls-files"], cwd=TOP, capture_output=True, text=True, check=True)
NAMES = [name for name in LISTED.stdout.splitlines() if (TOP / name).is_file()]
DOCUMENTS = [name for name in NAMES if name.endswith(".md")]
OTHERS = [
    name
    for name in NAMES
    if name.startswith((".github/", ".devcontainer/", ".ci/"))
    or name in (".pre-commit-config.yaml", ".dockerignore", "pyproject.toml", "docker-bake.hcl")
]
# Folders of the repository that a path begins with. What init removes is not there in a project.
OF_PROJECTS = {"locks/tests.txt", "locks/torch.cu118.txt", "tests/image/runtime/test_ffmpeg.py"}
OF_PROJECTS |= {"tests/image/configuration.txt", "locks/nvcc.<build>.txt"}
FOLDERS = "apt|docs|locks|src|template|tests|torchcrate"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links(name):
    text = (TOP / name).read_text()
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    for link in links:
        path, _, heading = link.partition("#")
        if re.match(r"\w+:", link):
            continue
        target = (TOP / name).parent / path if path else TOP / name
        assert target.exists(), f"{name} links to {link}"
        if heading:
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", it).lower().replace(" ", "-") for it in headings}
            assert heading in anchors, f"{name} links to {link}"


@pytest.mark.parametrize("name", [*DOCUMENTS, *OTHERS])
def test_paths(name):
    text = (TOP / name).read_text().replace("\\\\.", ".").replace("\\.", ".")
    paths = re.findall(rf"(?<![\w./*-])((?:{FOLDERS})/[\w./*<>-]*[\w*>])(?![\w/]*\()", text)
    for path in set(paths) - OF_PROJECTS:
        pattern = re.sub(r"<\w+>", "*", path)
        assert list(TOP.glob(pattern)), f"{name} names {path}"
