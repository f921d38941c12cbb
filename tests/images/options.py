"""Options, markers and the order of the tests."""

from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent

# What takes seconds comes first. From the first of `build` on, broken images are built, which those
# of `mutation` are about. The last one but one stops and kills the private engine.
ORDER = ("unit", "stub", "build", "template", "mutation", "engine", "real", "slow")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that hold the contract against an image that is there already."""
    group = parser.getgroup("the image's contract (tests/images/contract)")
    group.addoption("--image", help="hold it against this image instead of building any")
    group.addoption("--build", default="cpu", help="the torch build it should have (default: cpu)")
    group.addoption("--stage", default="runtime", choices=("base", "runtime", "dev"))
    group.addoption("--project", type=Path, default=HERE.parent.parent, help="where its locks are")
    group.addoption(
        "--build-arg", action="append", default=[], help="NAME=VALUE that it was built with"
    )
    group.addoption("--stub", action="store_true", help="its torch is a stub, which cannot compute")
    group = parser.getgroup("images broken on purpose (tests/images/mutations.py)")
    group.addoption("--one-by-one", action="store_true", help="each in an image of its own")
    parser.addoption("--no-skips", action="store_true", help="a test that is skipped fails")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test with what it needs, for -m to find."""
    if not any(item.get_closest_marker(name) for name in ORDER):
        item.add_marker("unit" if HERE / "unit" in item.path.parents else "build")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests in order, when pytest has put those of an image together."""
    items.sort(key=place)


def place(item: pytest.Item) -> tuple[bool, int, bool]:
    """Return a test's place. Tests that wait for all builds come last; all others go by ORDER.

    Within each of these, tests that look into layers come last: layers are read in the background,
    for a minute or more.
    """
    markers = (i for i, name in enumerate(ORDER) if item.get_closest_marker(name))
    names = getattr(item, "fixturenames", ())
    return "quiet" in names, next(markers, len(ORDER)), "contents" in names
