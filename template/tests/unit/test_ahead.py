"""What goes on in the background keeps out of the way of what must be alone, and tests of it."""

import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress

from template.tests.ahead import turn
from template.tests.common import PATCHING, unpatched


def test_some_go_on_together_and_some_alone(tmp_path):
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


def test_one_that_fails_keeps_nobody_waiting(tmp_path):
    for alone in (True, False, True):
        with suppress(OSError), turn(tmp_path / "lock", alone):
            raise OSError


def test_what_a_test_patches_is_kept_from_the_background(monkeypatch):
    with ThreadPoolExecutor() as pool:
        monkeypatch.setenv("PATCHED", "yes")
        seen = pool.submit(unpatched)
        assert not wait([seen], timeout=0.1).done
        monkeypatch.undo()
        PATCHING.release()  # as the fixture does, here before the test ends
        assert "PATCHED" not in seen.result()
        PATCHING.acquire()
