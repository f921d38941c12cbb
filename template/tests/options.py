"""Options, markers and the order of the tests."""

from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent

# What takes seconds comes first. From the first of `build` on, broken images are built, which those
# of `mutation` are about. The last one but one stops and kills the private engine.
ORDER = ("unit", "stub", "build", "template", "mutation", "engine", "slow")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for images that are broken on purpose."""
    group = parser.getgroup("images broken on purpose (template/tests/mutations.py)")
    group.addoption("--one-by-one", action="store_true", help="each in an image of its own")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test with what it needs, for -m."""
    if not any(item.get_closest_marker(name) for name in ORDER):
        item.add_marker("unit" if HERE / "unit" in item.path.parents else "build")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests in order, when pytest has put those of an image together."""
    items.sort(key=place)


def place(item: pytest.Item) -> tuple[bool, int]:
    """Return a test's place: by ORDER, and last those that wait for all other builds."""
    markers = (i for i, name in enumerate(ORDER) if item.get_closest_marker(name))
    return "quiet" in getattr(item, "fixturenames", ()), next(markers, len(ORDER))
