"""Each promise of the contract can be broken: images spoilt on purpose turn a named test red.

template/tests/mutations.py has the table. Images are built with its edits, as many in each as do
not hide each other, and the tests that must notice are held against it in a pytest of their own.
Each must fail, and say what is wrong.
"""

import os

import pytest

from template import cache
from template.tests import mutations

pytestmark = pytest.mark.mutation
TABLE = [(stage, mutation) for stage, found in mutations.STAGES.items() for mutation in found]


@pytest.fixture(scope="module", autouse=True)
def uncached(broken_cache, fork_cache):
    """Make room on the disk, once all images that were broken have been looked at."""
    yield
    cache.uncache(dict(os.environ), broken_cache - fork_cache)


def test_nothing_is_broken(built, hold, engine):
    """Held in the same way against an image without any edit, all tests pass.

    Of `base`, as a check of the way: that tests pass on other stubs is seen in contract/ itself.
    """
    named = {mutation.noticed for mutation in mutations.BASE}
    image = built("gpu", "base")
    found = hold(image, False, *sorted(named))
    engine.images.remove(image.tag, force=True)
    assert {test.partition("[")[0] for test in found} == named
    assert set(found.values()) == {""}, found


@pytest.mark.parametrize(
    ("stage", "mutation"), TABLE, ids=[f"{stage}: {mutation.broken}" for stage, mutation in TABLE]
)
def test_it_is_noticed(broken, stage, mutation, record_property):
    record_property("mutation", f"{stage}: {mutation.broken}")
    record_property("noticed", mutation.noticed)
    found = broken[stage, mutation.broken].result()
    said = [
        words
        for test, words in found.items()
        if words and mutation.noticed in (test, test.partition("[")[0])
    ]
    assert said, f"{mutation.noticed} did not notice"
    right = [words for words in said if mutation.says in words]
    assert right, f"it does not say {mutation.says!r} but:\n" + "\n".join(said)
    record_property("words", mutation.says)
