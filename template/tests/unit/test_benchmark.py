"""The benchmark's tables and counters."""

import time

import pytest

from template.bench import bench, contenders, tables, watch

SCENES = {row[1] for row in (*tables.SECONDS, *tables.BYTES)}
FIGURES = ("seconds", "cpu", "written", "fetched", "pushed", "pulled", "peak")


def results(**factors):
    """Return figures of contenders, each a multiple of the same figures."""
    found = {"build": "cpu", "machine": "2 cores", "packages": 65}
    for name, factor in factors.items():
        figures = {scene: dict.fromkeys(FIGURES, 20000000.0 * factor) for scene in SCENES}
        figures["size"] = {"all": 90e6, "base": 40e6, "venv": 30e6, "code": 1e6}
        found[name.replace("_", "-")] = figures
    return found


def test_time_ratios():
    text = tables.tables(results(torch_first=1, ours=0.25), [])
    assert "| from nothing | 0.25 | 20000000.0 s |  |" in text


def test_processor_time():
    own, all_programs = time.process_time(), watch.busy()
    while time.process_time() < own + 0.5:
        pass
    assert watch.busy() >= all_programs + 0.45  # the kernel counts in hundredths


def test_bytes():
    text = tables.tables(results(torch_first=1, ours=0.01), [])
    assert "| push: add a small package | 0.20 | 20 |  |" in text
    assert "| another machine, add a package: pulled and fetched | 0.40 | 40 |  |" in text


def test_rest_of_image():
    assert "| all else | 19 |" in tables.tables(results(ours=1), [])


def test_limits():
    scenes = ("unpack", "compile")
    limit = {scene: {"seconds": 2e6, "cpu": 1, "written": 7e6} for scene in scenes}
    text = tables.tables(results(torch_first=1, ours=0.5) | {"limit": limit}, [])
    assert "| from nothing, downloads there | 0.50 | 20000000.0 s | 0.20 |" in text
    assert "| written, downloads there | 10 | 20 | 7.00 |" in text


def test_growth():
    """Projects come in the order of their size, and one that lacks a contender has no row."""
    there = [results(torch_first=n, ours=0.01) | {"packages": n} for n in (150, 20)]
    text = tables.tables(there[0], [*there, results(ours=1)])
    rows = [line for line in text.splitlines() if "build cpu |" in line]
    assert rows == [
        "| 20, build cpu | 200000.0 | 400000000.0 | 0.20 | 400 |",
        "| 150, build cpu | 200000.0 | 3000000000.0 | 0.20 | 3,000 |",
    ]


def test_missing_scenes():
    """A scene that one contender lacks is empty, and one that all lack has no row."""
    found = results(torch_first=1, ours=1)
    del found["ours"]["push"]
    for name in ("torch-first", "ours"):
        for scene in [scene for scene in found[name] if scene.startswith("torch bump")]:
            del found[name][scene]
    text = tables.tables(found, [])
    assert "| push: all |  | 20 |  |" in text
    assert "another torch" not in text and "push: add a small package" in text


def test_results_go_on(tmp_path):
    """A stopped run goes on, but not with another commit's figures."""
    ran, file = [], tmp_path / "cpu.json"
    for _ in range(2):
        found = bench.Results(file, "cpu")
        found.part("ours", "edits", lambda: ran.append(1), {"push": {"seconds": 1}})
    assert ran == [1]
    assert found.all["ours"] == {"push": {"seconds": 1}}
    file.write_text(file.read_text().replace(found.all["commit"], "0" * 40))
    assert bench.Results(file, "cpu").all["done"] == []


@pytest.mark.parametrize(
    ("package", "requirement", "expected"),
    [
        ("einops", "einops", ["numpy (>=2)", "numpydoc", "einops"]),
        ("numpy", "numpy (==2.4.6)", ["numpydoc", "numpy (==2.4.6)"]),
        ("numpy", "", ["numpydoc"]),
    ],
)
def test_change(package, requirement, expected):
    needs = ["numpy (>=2)", "numpydoc"]
    contenders.replace(needs, package, requirement)
    assert needs == expected


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
