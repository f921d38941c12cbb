"""Tables of what the benchmark measured, from its JSON file.

report.py FILE.json      writes FILE.md beside it
"""

import json
import sys
from pathlib import Path

MB = 10**6
# Rows: what it is called, the scene, and the figure of it.
SECONDS = (
    ("build from nothing", "build from nothing"),
    ("… with the downloads there", "build again, downloads there"),
    ("rebuild after a code edit", "code edit: build"),
    ("lock after adding a dependency", "dependency edit: lock"),
    ("rebuild after adding a dependency", "dependency edit: build"),
    ("first push", "push"),
    ("push after a code edit", "code edit: push"),
    ("push after adding a dependency", "dependency edit: push"),
    ("another machine: build and push a code edit", "another machine, code edit"),
    ("another machine: build and push a dependency", "another machine, dependency edit"),
    ("pull", "pull"),
    ("pull, zstd", "pull with zstd"),
    ("pull of the dependency edit, over the version before", "pull after the dependency edit"),
    ("`docker run` to the first tensor, cold", "first tensor, cold"),
    ("`docker run` to the first tensor", "first tensor"),
)
BYTES = (
    ("fetched, build from nothing", "build from nothing", "fetched"),
    ("written to disk, build from nothing", "build from nothing", "written"),
    ("disk at most, build from nothing", "build from nothing", "peak"),
    ("first push", "push", "pushed"),
    ("first push, zstd", "push with zstd", "pushed"),
    ("push after a code edit", "code edit: push", "pushed"),
    ("push after adding a dependency", "dependency edit: push", "pushed"),
    ("another machine: pulled for a code edit", "another machine, code edit", "pulled"),
    ("another machine: pushed for a code edit", "another machine, code edit", "pushed"),
    ("another machine: pulled for a dependency", "another machine, dependency edit", "pulled"),
    ("another machine: pushed for a dependency", "another machine, dependency edit", "pushed"),
    ("pull", "pull", "pulled"),
    ("pull of the dependency edit", "pull after the dependency edit", "pulled"),
)
SIZES = (
    ("image, unpacked", "all"),
    ("base image", "base"),
    ("Python environment", "venv"),
    ("code", "code"),
    ("all else", "else"),
)
# What each contender's seconds are a ratio to.
BY = "article"


def table(title: str, names: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown, with a title over its first column."""
    lines = [f"| {title} | {' | '.join(names)} |", f"| --- |{' ---: |' * len(names)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def megabytes(count: float) -> str:
    """Return bytes in MB, with a decimal where there are few."""
    return f"{count / MB:,.0f}" if count >= 10 * MB else f"{count / MB:.2f}"


def seconds(results: dict, names: list[str]) -> str:
    """Return the table of times: ratios to the article's, and its seconds."""
    rows = []
    for title, scene in SECONDS:
        row = [title]
        first = results.get(BY, {}).get(scene, {}).get("seconds")
        for name in names:
            found = results[name][scene]["seconds"]
            ratio = f"{found / first:.2f}" if first else "-"
            row.append(f"{found:.1f} s" if name == BY or not first else ratio)
        rows.append(row)
    return table(f"time; not {BY}: its ratio to that", names, rows)


def sizes(results: dict, names: list[str]) -> str:
    """Return the table of what an image is made of."""
    rows = []
    for title, part in SIZES:
        row = [title]
        for name in names:
            found = results[name]["size"]
            rest = found["all"] - found["base"] - found["venv"] - found["code"]
            row.append(megabytes({**found, "else": rest}[part]))
        rows.append(row)
    return table("MB", names, rows)


def tables(results: dict) -> str:
    """Return all tables of a run's results."""
    names = [name for name in results if isinstance(results[name], dict)]
    rows = [
        [title, *(megabytes(results[name][scene][figure]) for name in names)]
        for title, scene, figure in BYTES
    ]
    about = f"Build {results['build']}, {results['machine']}, one run of `make bench`.\n"
    parts = [about, seconds(results, names), table("MB", names, rows), sizes(results, names)]
    return "\n".join(parts)


def write(file: Path) -> None:
    """Write the tables of a JSON file beside it."""
    file.with_suffix(".md").write_text(tables(json.loads(file.read_text())))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
