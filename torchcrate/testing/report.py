"""The report of the contract: what was promised, what was seen, in which image.

pytest's own `--junit-xml` writes it for machines, with properties for each test. contract.md
beside it is for people: a table for each file of tests.
"""

import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

WORDS = {"passed": "✓", "failed": "**failed**", "error": "**failed**", "skipped": "skipped"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add to a test's report what it promises, and for which image.

    With --no-skips a skipped test fails.
    """
    report = yield
    if report.skipped and item.config.getoption("--no-skips", False):
        report.outcome, report.longrepr = "failed", f"it was skipped: {report.longrepr[2]}"
    if report.when == "setup" and "image" in getattr(item, "fixturenames", ()):
        promise = inspect.getdoc(item.function)
        if not promise:
            raise pytest.UsageError(f"{item.nodeid} has no promise: give it a docstring.")
        file = inspect.getdoc(item.module).partition("\n")[0]
        item.user_properties += [
            ("stage", item.path.parent.name),
            ("file", file),
            ("promise", " ".join(promise.split())),
            ("image", f"{item.config.getoption('--build')}-{item.callspec.params['image'][0]}"),
        ]
        report.user_properties = list(item.user_properties)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write the report and say where it is."""
    config = terminalreporter.config
    promises: dict[tuple, list] = {}
    for outcome in WORDS:
        for report in terminalreporter.getreports(outcome):
            facts: dict = {}
            for name, value in getattr(report, "user_properties", ()):
                facts.setdefault(name, value)
            if "promise" in facts:
                key = (facts["stage"], facts["file"], facts["promise"])
                if outcome == "skipped":
                    facts["seen"] = report.longrepr[2].removeprefix("Skipped: ")
                elif outcome != "passed":
                    crash = getattr(report.longrepr, "reprcrash", None)
                    facts["seen"] = crash.message.partition("\n")[0] if crash else "an error"
                promises.setdefault(key, []).append((facts, outcome))
    if not config.option.xmlpath or not promises:
        return
    lines = ["# The image's contract", ""]
    title = ""
    for (stage, file, promise), results in promises.items():
        if title != (stage, file):
            title = (stage, file)
            lines += ["", f"## {stage}: {file}", "", "| promised | seen | |", "| --- | --- | --- |"]
        images: dict[str, list[str]] = {}
        for facts, _ in results:
            seen = images.setdefault(str(facts.get("seen", "")), [])
            seen.append(facts["image"])
        what = "<br>".join(
            f"{seen} ({', '.join(dict.fromkeys(names))})".strip() for seen, names in images.items()
        )
        outcomes = ", ".join(
            f"{sum(o == outcome for _, o in results)} {word}"
            for outcome, word in WORDS.items()
            if any(o == outcome for _, o in results)
        )
        lines.append(f"| {cell(promise)} | {cell(what)} | {outcomes} |")
    file = Path(config.option.xmlpath).with_name("contract.md")
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(lines) + "\n")
    terminalreporter.write_line(f"What was promised and what was seen: {file}")


def cell(text: str) -> str:
    """Return a text as a cell of a Markdown table, shortened if it is very long."""
    text = " ".join(str(text).split()).replace("|", "\\|")
    return text if len(text) < 500 else f"{text[:500]} …"
