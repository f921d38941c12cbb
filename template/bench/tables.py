"""The tables of the benchmark's results: `tables.py FILE.json` writes FILE.md beside it."""

import json
import sys
from pathlib import Path

MB = 10**6
COLUMNS = {
    **{"ours": "ours", "torch-first": "torch first", "uv": "uv's guide"},
    "article": "the article",
}
BY = "torch-first"  # times are ratios to this one's
LEAST = "unpack+compile"
# Rows: title, scene, figures to add up, and the limit's scenes.
SECONDS = (
    ("from nothing", "build from nothing", "seconds", ""),
    ("from nothing, downloads there", "build again, downloads there", "seconds", LEAST),
    ("… processor time", "build again, downloads there", "cpu", LEAST),
    ("code edit", "code edit: build", "seconds", ""),
    ("add a small package: lock", "add a small package: lock", "seconds", ""),
    ("add a small package", "add a small package: build", "seconds", ""),
    ("raise pandas", "raise pandas: build", "seconds", ""),
    ("raise numpy", "raise numpy: build", "seconds", ""),
    ("remove a package", "remove a package: build", "seconds", ""),
    ("another torch", "torch bump: build", "seconds", ""),
    ("another machine: code edit", "another machine, code edit", "seconds", ""),
    ("another machine: add a package", "another machine, add a small package", "seconds", ""),
    ("pull and start, gzip", "pull and start, gzip", "seconds", ""),
    ("pull and start, zstd", "pull and start, zstd", "seconds", ""),
    ("first tensor in a container", "first tensor in a container", "seconds", ""),
)
BYTES = (
    ("fetched, from nothing", "build from nothing", "fetched", "wheels"),
    ("written, downloads there", "build again, downloads there", "written", "unpack"),
    ("disk at most, from nothing", "build from nothing", "peak", ""),
    ("push: all", "push", "pushed", ""),
    ("push: code edit", "code edit: push", "pushed", ""),
    ("push: add a small package", "add a small package: push", "pushed", ""),
    ("push: raise pandas", "raise pandas: push", "pushed", ""),
    ("push: raise numpy", "raise numpy: push", "pushed", ""),
    ("push: remove a package", "remove a package: push", "pushed", ""),
    ("push: another torch", "torch bump: push", "pushed", ""),
    (
        "another machine, add a package: pulled and fetched",
        *("another machine, add a small package", "pulled+fetched", ""),
    ),
    ("pull: an added package", "pull after adding a package", "pulled", ""),
)
SIZES = (("image, unpacked", "all"), ("Python environment", "venv"), ("all else", "else"))
# The edit that shows how time and bytes grow with the project.
GROWTH = (("add a small package: build", "seconds"), ("add a small package: push", "pushed"))
ABOUT = """\
Build {build}, {packages} packages beside torch's, {machine}, one run of `./crate bench`. Times are
ratios to torch first's.
limit: what no image can do without, as programs on the same machine: the wheels' bytes, uv that
reads, checks and unpacks them, and Python that compiles them. Builds end in the build cache or in
the registry, as in CI. Where torch and all else are in one layer, each edit costs what the first
one does.
"""


def megabytes(count: float | None) -> str:
    """Return bytes as MB, with two decimals below 10 MB, or ""."""
    if count is None:
        return ""
    return f"{count / MB:,.0f}" if count >= 10 * MB else f"{count / MB:.2f}"


def total(figures: dict, scenes: str, names: str) -> float | None:
    """Return the sum of figures of scenes, or None if one of them was not run."""
    pairs = [(scene, name) for scene in scenes.split("+") for name in names.split("+")]
    found = [figures.get(scene, {}).get(name) for scene, name in pairs]
    return None if None in found else sum(found)


def ratio(value: float | None, to: float | None) -> str:
    """Return a time as a ratio to another, in seconds if there is none, or ""."""
    if value is None:
        return ""
    return f"{value / to:.2f}" if to else f"{value:.1f} s"


def row(title: str, values: list[str]) -> str:
    """Return a line of a table in Markdown."""
    return f"| {' | '.join([title, *values])} |"


def growth(of_projects: list[dict]) -> list[str]:
    """Return the lines of the table that shows one edit in projects of several sizes."""
    (build, seconds), (push, pushed) = GROWTH
    names = ("ours", BY)
    heads = [f"{COLUMNS[name]}, {what}" for what in ("s", "MB pushed") for name in names]
    lines = ["", row("add a small package: packages there", heads), row("---", ["---:"] * 4)]
    for results in sorted(of_projects, key=lambda each: (each["build"], each["packages"])):
        times = [total(results.get(name, {}), build, seconds) for name in names]
        sizes = [total(results.get(name, {}), push, pushed) for name in names]
        if None not in times:
            values = [f"{time:.1f}" for time in times] + list(map(megabytes, sizes))
            lines.append(row(f"{results['packages']}, build {results['build']}", values))
    return lines


def tables(results: dict, of_projects: list[dict]) -> str:
    """Return the tables of a run's results, and of one edit in each project."""
    names = [name for name in COLUMNS if name in results]
    heads = [*(COLUMNS[name] for name in names), "limit"]
    line = row("---", ["---:"] * len(heads))
    lines = [ABOUT.format(**results), row("time", heads), line]
    limits = results.get("limit", {})
    for title, scene, figure, limit in SECONDS:
        found = {name: total(results[name], scene, figure) for name in names}
        if any(value is not None for value in found.values()):  # the sample has no pandas
            by = found.get(BY)
            values = [ratio(found[name], by if name != BY else None) for name in names]
            least = total(limits, limit, figure) if limit else None
            lines.append(row(title, [*values, ratio(least, by)]))
    lines += ["", row("MB", heads), line]
    for title, scene, figure, limit in BYTES:
        found = [total(results[name], scene, figure) for name in names]
        if any(value is not None for value in found):
            least = total(limits, limit, "fetched" if limit == "wheels" else figure)
            lines.append(row(title, list(map(megabytes, (*found, least if limit else None)))))
    for title, part in SIZES:
        sizes = []
        for name in names:
            size = dict(results[name].get("size", {}))
            if size:
                size["else"] = size["all"] - size["base"] - size["venv"] - size["code"]
            sizes.append(megabytes(size.get(part)))
        lines.append(row(title, [*sizes, ""]))
    return "\n".join([*lines, *growth(of_projects)]) + "\n"


def write(file: Path) -> None:
    """Write the tables of a JSON file beside it, with the growth that all files there show."""
    of_projects = [json.loads(each.read_text()) for each in file.parent.glob("*.json")]
    file.with_suffix(".md").write_text(tables(json.loads(file.read_text()), of_projects))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
