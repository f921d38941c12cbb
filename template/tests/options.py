"""Options, markers and the order of the tests."""

from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent

# Fast tests come first. The first test of `build` starts the builds of broken images, which the
# tests of `mutation` need. Those of `engine` stop and kill the private engine.
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
    """Sort the tests, after pytest has grouped those of an image."""
    items.sort(key=place)


def place(item: pytest.Item) -> tuple[bool, int]:
    """Return a test's place: by ORDER, but those that use `quiet` come last."""
    markers = (i for i, name in enumerate(ORDER) if item.get_closest_marker(name))
    return "quiet" in getattr(item, "fixturenames", ()), next(markers, len(ORDER))
