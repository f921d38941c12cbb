"""What the steps of the workflows decide without an engine."""

from pathlib import Path

import pytest

from template import ci_here
from torchcrate import ci


def test_nothing_pushed_is_nothing_published(tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_REF_NAME", f"v{ci.build.version()}")
    monkeypatch.setenv("REPOSITORY", "registry.example/me/project")
    with pytest.raises(SystemExit, match=r"has no pushed\.json, or no tags are named"):
        ci.publish(tmp_path, ["{build}"])


@pytest.mark.parametrize(
    ("note", "lacks"),
    [("", "JSON"), ("[1]", "JSON"), ('{"build": "cpu", "base": ""}', "architecture")],
)
def test_a_broken_note_is_named(tmp_path, monkeypatch, note, lacks):
    monkeypatch.setenv("GITHUB_REF_NAME", f"v{ci.build.version()}")
    (tmp_path / "pushed.json").write_text(note)
    with pytest.raises(
        SystemExit, match=rf"pushed.json lacks {lacks}.*: run `./crate step push` a"
    ):
        ci.publish(tmp_path, ["{build}"])


def test_a_missing_setting_is_named(monkeypatch):
    monkeypatch.delenv("DIGEST", raising=False)
    with pytest.raises(SystemExit, match="ERROR: DIGEST is not set"):
        ci.push()


def test_a_package_that_the_sbom_lacks_is_named(monkeypatch):
    listed = [{"name": "Some.Package", "versionInfo": "1"}, {"name": "torch", "versionInfo": "2"}]
    found = {"SBOM": {"SPDX": {"packages": listed}}, "Provenance": {"SLSA": {"any": 1}}}
    monkeypatch.setattr(ci, "attached", lambda name, what: found[what])
    ci.check_attestations("image", {"some-package": "1", "torch": "2"})
    with pytest.raises(SystemExit, match=r"the SBOM of image lacks torch 2\+cpu: choose another"):
        ci.check_attestations("image", {"some-package": "1", "torch": "2+cpu"})


def test_numbers_are_aligned_to_the_right():
    lines = list(ci.table(("step", "seconds"), [("a | b", 1.5)]))
    assert lines == ["| step | seconds |", "| --- | ---: |", r"| a \| b | 1.5 |"]


def test_each_action_has_a_stand_in():
    found = ci_here.actions()
    assert any(action.startswith("actions/checkout@") for action in found)
    assert all((Path(folder) / "action.yml").is_file() for folder in found.values())
