"""What these tests patch is kept from the threads that build and lock in the background."""

from collections.abc import Iterator

import pytest

from template.tests.common import PATCHING


@pytest.fixture
def monkeypatch(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Return pytest's own, which patches the whole process, while the threads wait."""
    with PATCHING:
        yield monkeypatch
        monkeypatch.undo()
