"""Background work does not disturb work that must run alone, or a test that patches."""

import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress

from template.tests.ahead import turn
from template.tests.common import PATCHING, unpatched


def test_together_and_alone(tmp_path):
    going_on, seen = set(), []

    def work(number, alone):
        with turn(tmp_path / "lock", alone):
            going_on.add((number, alone))
            seen.append(sorted(going_on))
            time.sleep(0.01)
            going_on.remove((number, alone))

    with ThreadPoolExecutor(max_workers=8) as pool:
        for done in [pool.submit(work, number, number % 7 == 0) for number in range(40)]:
            done.result()
    assert len(seen) == 40
    assert all(len(each) == 1 for each in seen if any(alone for _, alone in each))
    assert max(len(each) for each in seen) > 1


def test_failure_releases_lock(tmp_path):
    for alone in (True, False, True):
        with suppress(OSError), turn(tmp_path / "lock", alone):
            raise OSError


def test_patches_hidden(monkeypatch):
    with ThreadPoolExecutor() as pool:
        monkeypatch.setenv("PATCHED", "yes")
        seen = pool.submit(unpatched)
        assert not wait([seen], timeout=0.1).done
        monkeypatch.undo()
        PATCHING.release()  # as the fixture does, here before the test ends
        assert "PATCHED" not in seen.result()
        PATCHING.acquire()
