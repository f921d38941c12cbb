"""Pictures of the benchmark's results: `draw.py FILE.json` writes FILE-*.png beside it.

It needs matplotlib, which `./crate bench` installs for it.
"""

import json
import math
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

MB = 10**6
COLOURS = {"article": "#b8b8b8", "uv": "#8aa6c1", "torch-first": "#5f7f5f", "ours": "#d9542b"}
# Pictures: name, title, scale and bars; a bar has a label, a scene and a figure.
PICTURES = (
    (
        "bytes",
        "MB to push or pull for one edit",
        "log",
        (
            ("push\na package", "add a small package: push", "pushed"),
            ("pull\na package", "pull after adding a package", "pulled"),
            (
                "another machine:\npull and fetch for it",
                "another machine, add a small package",
                "pulled+fetched",
            ),
            ("push\npandas", "raise pandas: push", "pushed"),
            ("push\ncode", "code edit: push", "pushed"),
        ),
    ),
    (
        "seconds",
        "seconds to build",
        "linear",
        (
            ("from nothing", "build from nothing", "seconds"),
            ("… with the\ndownloads there", "build again, downloads there", "seconds"),
            ("add a package", "add a small package: build", "seconds"),
            ("add a package,\nanother machine", "another machine, add a small package", "seconds"),
            ("raise pandas", "raise pandas: build", "seconds"),
            ("code", "code edit: build", "seconds"),
        ),
    ),
)

# The picture of growth: title, scene, figure and unit.
GROWTH = (
    ("seconds to add a small package", "add a small package: build", "seconds", 1),
    ("MB to push it", "add a small package: push", "pushed", MB),
)


def draw_growth(all_results: list[dict], file: Path) -> None:
    """Write a PNG of one edit in projects of several sizes."""
    names = [name for name in COLOURS if all(name in results for results in all_results)]
    all_results = sorted(all_results, key=lambda each: each["packages"])
    packages = [results["packages"] for results in all_results]
    figure, sides = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for axes, (title, scene, figure_, unit) in zip(sides, GROWTH, strict=True):
        for name in names:
            heights = [results[name][scene][figure_] / unit for results in all_results]
            axes.plot(packages, heights, "o-", color=COLOURS[name], label=name)
        axes.set_title(title)
        axes.set_xlabel("packages beside torch's")
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    sides[0].legend(frameon=False)
    figure.savefig(file.with_name(f"{file.stem}-growth.png"), dpi=120, metadata={"Software": ""})
    plt.close(figure)


def draw(results: dict, file: Path) -> None:
    """Write one PNG for each picture, named after the JSON file."""
    names = [name for name in COLOURS if name in results]
    for name, title, scale, all_bars in PICTURES:
        bars = [bar for bar in all_bars if any(bar[1] in results[one] for one in names)]
        figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
        width = 0.8 / len(names)
        for i, contender in enumerate(names):
            found = [  # of edits that all cost the same, it has only the first
                sum(results[contender].get(scene, {}).get(f, math.nan) for f in figures.split("+"))
                for _, scene, figures in bars
            ]
            heights = [value if name == "seconds" else max(value / MB, 0.001) for value in found]
            places = [bar + (i - (len(names) - 1) / 2) * width for bar in range(len(bars))]
            drawn = axes.bar(places, heights, width, label=contender, color=COLOURS[contender])
            said = [f"{height:,.0f}" if height >= 100 else f"{height:.2g}" for height in heights]
            said = [text.replace("nan", "") for text in said]
            axes.bar_label(drawn, said, fontsize=8)
        axes.set_xticks(range(len(bars)), [label for label, _, _ in bars], fontsize=9)
        axes.set_yscale(scale)
        axes.set_title(f"{title} ({results['build']})")
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside lower center", ncols=len(names), frameon=False)
        figure.savefig(
            file.with_name(f"{file.stem}-{name}.png"), dpi=120, metadata={"Software": ""}
        )
        plt.close(figure)


if __name__ == "__main__":
    main = Path(sys.argv[1])
    mine = json.loads(main.read_text())
    draw(mine, main)
    beside = [json.loads(each.read_text()) for each in main.parent.glob(f"{mine['build']}-*.json")]
    if len(beside) > 1:
        draw_growth(beside, main)
