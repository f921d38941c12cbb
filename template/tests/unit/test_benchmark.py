"""The benchmark's tables and counters."""

import json
import platform
import time

import pytest
import tomlkit

from template.bench import contenders, tables, watch

SCENES = {row[1] for row in (*tables.SECONDS, *tables.BYTES)}
FIGURES = ("seconds", "cpu", "written", "fetched", "pushed", "pulled", "peak")


def results(**factors):
    """Return figures of contenders, each a multiple of the same figures."""
    found = {"build": "cpu", "machine": "2 cores"}
    for name, factor in factors.items():
        found[name] = {scene: dict.fromkeys(FIGURES, 20000000.0 * factor) for scene in SCENES}
        found[name]["size"] = {"all": 90e6, "base": 40e6, "venv": 30e6, "code": 1e6}
    return found


def test_time_ratios():
    text = tables.tables(results(article=1, ours=0.25))
    assert "| build from nothing | 20000000.0 s | 0.25 |" in text


def test_processor_time():
    own, all_programs = time.process_time(), watch.busy()
    while time.process_time() < own + 0.5:
        pass
    assert watch.busy() >= all_programs + 0.45  # the kernel counts in hundredths


def test_bytes():
    text = tables.tables(results(article=1, ours=0.01))
    assert "| push after adding a dependency | 20 | 0.20 |" in text


def test_rest_of_image():
    assert "| all else | 19 |" in tables.tables(results(ours=1))


def test_limits():
    found = results(article=1, ours=0.01) | {
        "limits": {"fetched": 5, "unpacked": 5, "package": 70000}
    }
    text = tables.tables(found)
    assert "| push after adding a dependency | 20 | 0.20 | 0.07 |" in text
    assert "| push after a code edit | 20 | 0.20 |  |" in text


def test_missing_scene(tmp_path):
    found = results(article=1, ours=1)
    del found["article"]["push"]
    file = tmp_path / "cpu.json"
    file.write_text(json.dumps(found))
    with pytest.raises(KeyError, match="push"):
        tables.write(file)


def test_build_without_scene():
    found = results(article=1, ours=1)
    for name in ("article", "ours"):
        for scene in [scene for scene in found[name] if scene.startswith("torch bump")]:
            del found[name][scene]
    text = tables.tables(found)
    assert "bump" not in text and "push after adding a dependency" in text


def test_wheel_sizes(tmp_path):
    def wheel(name, size=0):
        return {"url": f"https://index.test/{name}"} | ({"size": size} if size else {})

    lock, own = tmp_path / "uv.lock", "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"
    packages = [
        {"name": "pure", "wheels": [wheel("pure-1.0-py3-none-any.whl", 7)]},
        {
            "name": "compiled",
            "wheels": [
                wheel("compiled-1.0-cp312-cp312-manylinux_2_17_x86_64.whl", 1),
                wheel("compiled-1.0-cp311-cp311-win_amd64.whl", 2),
                wheel("compiled-1.0-py3-none-any.whl", 3),
                *(
                    wheel(f"compiled-1.0-cp311-cp311-manylinux_2_17_{machine}.whl", 4)
                    for machine in ("x86_64", "aarch64")
                ),
            ],
        },
        {"name": "windows", "wheels": [wheel("windows-1.0-py3-none-win32.whl", 9)]},
        {"name": "source"},
        {"name": "torch", "wheels": [{"filename": own}]},
    ]
    lock.write_text(tomlkit.dumps({"package": packages}))
    (tmp_path / own).write_bytes(b"12345")
    found = contenders.wheel_sizes(lock, tmp_path)
    own_size = {"torch": 5} if platform.machine() == "x86_64" else {}
    assert found == {"pure": 7, "compiled": 4} | own_size


@pytest.mark.parametrize(
    ("need", "wanted"),
    [
        ("torch (==2.13.0)", f"torch (=={contenders.BUMP['torch']})"),
        ("torchvision==0.28.0", f"torchvision (=={contenders.BUMP['torchvision']})"),
        ("torch>=2.13", f"torch (=={contenders.BUMP['torch']})"),
        ("torchmetrics (>=1)", "torchmetrics (>=1)"),
        ("numpy (>=2.3,<3.0)", "numpy (>=2.3,<3.0)"),
    ],
)
def test_bump(need, wanted):
    assert contenders.bumped(need) == wanted
