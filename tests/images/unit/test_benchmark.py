"""What the benchmark makes of its figures."""

import json

import pytest

import tables

SCENES = {scene for _, scene in tables.SECONDS} | {scene for _, scene, _ in tables.BYTES}
FIGURES = ("seconds", "written", "fetched", "pushed", "pulled", "peak")


def results(**factors):
    """Return the figures of contenders, each a multiple of the same."""
    found = {"build": "cpu", "machine": "2 cores"}
    for name, factor in factors.items():
        found[name] = {scene: dict.fromkeys(FIGURES, 20000000.0 * factor) for scene in SCENES}
        found[name]["size"] = {"all": 90e6, "base": 40e6, "venv": 30e6, "code": 1e6}
    return found


def test_times_are_ratios_to_the_article():
    text = tables.tables(results(article=1, ours=0.25))
    assert "| build from nothing | 20000000.0 s | 0.25 |" in text


def test_bytes_are_absolute():
    text = tables.tables(results(article=1, ours=0.01))
    assert "| push after adding a dependency | 20 | 0.20 |" in text


def test_what_is_left_of_an_image_is_named():
    assert "| all else | 19 |" in tables.tables(results(ours=1))


def test_a_scene_that_was_not_measured_is_no_zero(tmp_path):
    found = results(article=1)
    del found["article"]["push"]
    file = tmp_path / "cpu.json"
    file.write_text(json.dumps(found))
    with pytest.raises(KeyError, match="push"):
        tables.write(file)
