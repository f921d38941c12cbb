"""What the steps of the workflows decide without an engine."""

import json
from collections import namedtuple
from pathlib import Path

import pytest

from template import ci_here
from torchcrate import ci

GIB = 2**30
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def runner(monkeypatch, tmp_path):
    """Return a function that pretends to be a runner with so many GiB free, then with more."""
    monkeypatch.setattr(ci, "REPORTS", tmp_path)
    monkeypatch.setattr(ci.engine, "quiet", lambda *_: "/")
    monkeypatch.delenv("BUILD", raising=False)  # as in weekly.yml, which builds all
    ran = []

    def pretend(free, freed=0, hosted=True):
        def disk_usage(_):
            return Usage(0, 0, (free + freed * bool(ran)) * GIB)

        monkeypatch.setattr(ci.shutil, "disk_usage", disk_usage)
        monkeypatch.setattr(ci.subprocess, "run", lambda words, **_: ran.append(words))
        if hosted:
            monkeypatch.setenv("RUNNER_ENVIRONMENT", "github-hosted")
        else:
            monkeypatch.delenv("RUNNER_ENVIRONMENT", raising=False)
        return ran

    return pretend


def test_where_there_is_room_nothing_is_deleted(runner):
    ran = runner(free=50)
    ci.room()
    assert ran == []


def test_a_hosted_runner_is_made_room_on(runner):
    ran = runner(free=14, freed=20)
    ci.room()
    assert [words[-1] for words in ran] == list(ci.UNUSED)


@pytest.mark.parametrize("hosted", [True, False])
def test_too_small_a_disk_is_one_sentence(runner, hosted):
    ran = runner(free=5, freed=2, hosted=hosted)
    with pytest.raises(SystemExit, match=r"ERROR: / has \d\.0 GiB free, and the GPU image's job"):
        ci.room()
    assert bool(ran) == hosted, "a machine of somebody's own is not tidied"


GOOD = {"digest": "sha256:1", "tests": {"passed": 9, "failed": 0, "skipped": 1}}


@pytest.mark.parametrize(
    "note",
    [
        {},
        {"digest": "sha256:1"},
        GOOD | {"digest": ""},
        GOOD | {"tests": {"passed": 0, "failed": 0, "skipped": 9}},
        GOOD | {"tests": {"passed": 9, "failed": 1, "skipped": 0}},
    ],
)
def test_a_note_of_tests_that_did_not_pass_is_none(tmp_path, note):
    (tmp_path / "tested.json").write_text(json.dumps(note))
    with pytest.raises(SystemExit, match="is no note of an image whose tests passed"):
        ci.tested(tmp_path / "tested.json")


def test_a_note_of_tests_that_passed(tmp_path):
    (tmp_path / "tested.json").write_text(json.dumps(GOOD))
    assert ci.tested(tmp_path / "tested.json") == GOOD


def test_nothing_tested_is_nothing_published(tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_REF_NAME", f"v{ci.build.version()}")
    monkeypatch.setenv("REPOSITORY", "registry.example/me/project")
    with pytest.raises(SystemExit, match="has no note of a tested image"):
        ci.publish(tmp_path)


def test_results_are_counted_from_pytests_report(tmp_path, monkeypatch):
    monkeypatch.setattr(ci, "REPORTS", tmp_path)
    assert ci.results() == {"passed": 0, "failed": 0, "skipped": 0}
    cases = "<testcase/><testcase><failure/></testcase><testcase><error/></testcase>"
    cases += "<testcase><properties/></testcase><testcase><skipped/></testcase>"
    (tmp_path / "junit.xml").write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    assert ci.results() == {"passed": 2, "failed": 2, "skipped": 1}


def test_a_step_that_is_not_told_its_build_says_so(monkeypatch):
    monkeypatch.delenv("BUILD", raising=False)
    with pytest.raises(SystemExit, match="ERROR: BUILD is not set"):
        ci.torch_build()


def test_a_cache_that_fails_the_build_is_left_out_of_the_next(monkeypatch, tmp_path):
    monkeypatch.setattr(ci, "REPORTS", tmp_path)
    monkeypatch.setattr(ci.engine, "connect", lambda: {"CACHE": "gha"})
    monkeypatch.setenv("BUILD", "cpu")
    built = []

    def build(environment, *_, **__):
        built.append(environment["CACHE"])
        if environment["CACHE"]:
            raise SystemExit("ERROR: not built")

    monkeypatch.setattr(ci.build, "build", build)
    monkeypatch.setenv("CACHE", "gha")
    ci.image()
    assert built == ["gha", ""]


def test_numbers_are_to_the_right():
    lines = list(ci.table(("step", "seconds"), [("a | b", 1.5)]))
    assert lines == ["| step | seconds |", "| --- | ---: |", r"| a \| b | 1.5 |"]


def test_each_action_has_a_stand_in():
    found = ci_here.actions()
    assert any(action.startswith("actions/checkout@") for action in found)
    assert all((Path(folder) / "action.yml").is_file() for folder in found.values())
