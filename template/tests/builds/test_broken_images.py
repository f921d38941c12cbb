"""The contract can fail: for each image broken on purpose, a named test fails.

template/tests/mutations.py lists the edits. Edits that do not hide each other share an image. Each
test that an edit names must fail and say what is wrong.
"""

import os

import pytest

from template import cache
from template.tests import mutations

pytestmark = pytest.mark.mutation
TABLE = [(stage, mutation) for stage, found in mutations.STAGES.items() for mutation in found]


@pytest.fixture(scope="module", autouse=True)
def uncached(broken_cache, fork_cache):
    """Free the disk once all broken images have been tested."""
    yield
    cache.uncache(dict(os.environ), broken_cache - fork_cache)


def test_unbroken_image(built, hold, engine):
    """All tests pass on an image without any edit.

    This is for `base`. test_stub_images.py holds the contract against the other stages.
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
def test_broken_image(broken, stage, mutation, record_property):
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
