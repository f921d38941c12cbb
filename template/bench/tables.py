"""Tables of the benchmark's results: `tables.py FILE.json` writes FILE.md beside it."""

import json
import sys
from pathlib import Path

MB = 10**6
# Rows: title, scene, figure, and for bytes the limit that no contender can go below.
SECONDS = (
    ("build from nothing", "build from nothing", "seconds"),
    ("… with the downloads there", "build again, downloads there", "seconds"),
    ("… … in processor time", "build again, downloads there", "cpu"),
    ("rebuild after a code edit", "code edit: build", "seconds"),
    ("lock after adding a dependency", "dependency edit: lock", "seconds"),
    ("rebuild after adding a dependency", "dependency edit: build", "seconds"),
    ("rebuild after a torch bump", "torch bump: build", "seconds"),
    ("first push", "push", "seconds"),
    ("push after a code edit", "code edit: push", "seconds"),
    ("push after adding a dependency", "dependency edit: push", "seconds"),
    ("push after a torch bump", "torch bump: push", "seconds"),
    ("another machine: build and push a code edit", "another machine, code edit", "seconds"),
    ("another machine: build and push a dependency", "another machine, dependency edit", "seconds"),
    ("pull", "pull", "seconds"),
    ("pull, zstd", "pull with zstd", "seconds"),
    (
        "pull of the dependency edit, over the version before",
        "pull after the dependency edit",
        "seconds",
    ),
    ("`docker run` to the first tensor, cold", "first tensor, cold", "seconds"),
    ("`docker run` to the first tensor", "first tensor", "seconds"),
    ("first tensor in a running container", "first tensor in a container", "seconds"),
    ("… with no bytecode of packages", "first tensor without bytecode", "seconds"),
)
BYTES = (
    ("fetched, build from nothing", "build from nothing", "fetched", "fetched"),
    ("written to disk, build from nothing", "build from nothing", "written", "unpacked"),
    ("disk at most, build from nothing", "build from nothing", "peak", "unpacked"),
    ("written to disk, downloads there", "build again, downloads there", "written", "unpacked"),
    ("first push", "push", "pushed", ""),
    ("push after a code edit", "code edit: push", "pushed", ""),
    ("push after adding a dependency", "dependency edit: push", "pushed", "package"),
    ("push after a torch bump", "torch bump: push", "pushed", ""),
    ("another machine: pulled for a code edit", "another machine, code edit", "pulled", ""),
    ("another machine: pushed for a code edit", "another machine, code edit", "pushed", ""),
    ("another machine: pulled for a dependency", "another machine, dependency edit", "pulled", ""),
    (
        "… and fetched from the index for it",
        "another machine, dependency edit",
        "fetched",
        "package",
    ),
    (
        "another machine: pushed for a dependency",
        "another machine, dependency edit",
        "pushed",
        "package",
    ),
    ("pull", "pull", "pulled", ""),
    ("pull, zstd", "pull with zstd", "pulled", ""),
    ("pull of the dependency edit", "pull after the dependency edit", "pulled", "package"),
)
SIZES = (
    ("image, unpacked", "all"),
    ("base image", "base"),
    ("Python environment", "venv"),
    ("code", "code"),
    ("all else", "else"),
)
COLUMNS = ("article", "uv", "ours")
# Scenes that only ours has.
OURS = ("pull with zstd",)
# The other contenders' times are ratios to this one's.
BY = "article"
LIMITS = """\
limit: the wheels to fetch, their unpacked files to write once, or the wheel that an edit adds. The
base image, apt's packages and bytecode come on top. Builds end in the build cache or in the
registry, as in CI. To run an image on the same machine, Docker also unpacks it, as for a pull.
"""


def table(title: str, names: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown; the title is the first column's."""
    lines = [f"| {title} | {' | '.join(names)} |", f"| --- |{' ---: |' * len(names)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def megabytes(count: float) -> str:
    """Return bytes as MB, with two decimals below 10 MB."""
    return f"{count / MB:,.0f}" if count >= 10 * MB else f"{count / MB:.2f}"


def seconds(results: dict, names: list[str]) -> str:
    """Return the table of times: seconds for the article, ratios to them for the others."""
    rows = []
    for title, scene, figure in SECONDS:
        if not any(scene in results[name] for name in names):
            continue  # the CPU build has no torch bump
        row = [title]
        first = results.get(BY, {}).get(scene, {}).get(figure)
        for name in names:
            if scene in OURS and name != "ours":
                row.append("")
                continue
            found = results[name][scene][figure]
            ratio = f"{found / first:.2f}" if first else "-"
            row.append(ratio if first and name != BY else f"{found:.1f} s")
        rows.append(row)
    return table(f"time ({BY}: seconds, others: ratio to it)", names, rows)


def sizes(results: dict, names: list[str]) -> str:
    """Return the table of the sizes of an image's parts."""
    rows = []
    for title, part in SIZES:
        row = [title]
        for name in names:
            found = results[name]["size"]
            rest = found["all"] - found["base"] - found["venv"] - found["code"]
            row.append(megabytes({**found, "else": rest}[part]))
        rows.append(row)
    return table("MB", names, rows)


def transfers(results: dict, names: list[str]) -> str:
    """Return the table of bytes written and moved, with the limits."""
    limits = results.get("limits", {})
    rows = [
        [
            title,
            *(
                "" if scene in OURS and name != "ours" else megabytes(results[name][scene][figure])
                for name in names
            ),
            megabytes(limits[limit]) if limit in limits else "",
        ]
        for title, scene, figure, limit in BYTES
        if any(scene in results[name] for name in names)
    ]
    return table("MB", [*names, "limit"], rows)


def tables(results: dict) -> str:
    """Return all tables of a run's results."""
    names = [name for name in COLUMNS if name in results]
    about = f"Build {results['build']}, {results['machine']}, one run of `./crate bench`.\n"
    parts = [seconds(results, names), transfers(results, names), LIMITS, sizes(results, names)]
    return "\n".join([about, *parts])


def write(file: Path) -> None:
    """Write the tables of a JSON file beside it."""
    file.with_suffix(".md").write_text(tables(json.loads(file.read_text())))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
