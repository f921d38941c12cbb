"""What the workflows in .github do that no action does; behind `./crate step`.

    ./crate step push                      push the image DIGEST, check what arrived, keep its SBOM
    ./crate step publish FOLDER TAG...     give tags to the images that were pushed, and to no other

The workflows set TORCH_BUILD, DIGEST and REPOSITORY, such as ghcr.io/owner/project. `push` leaves
reports/pushed.json for `publish`, and reports/sbom.json. `publish` leaves reports/published.txt
and reports/release.md.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from torchcrate import build
from torchcrate.host import TOP, fail, say

REPORTS = TOP / "reports"
# What reports/pushed.json has, beside the packages.
NOTED = {"architecture", "base", "build", "buildkit", "cuda", "digest", "python", "system", "torch"}
FACTS = """
import importlib.metadata, json, platform, torch
print(json.dumps({
    "packages": {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()},
    "torch": torch.__version__,
    "cuda": getattr(getattr(torch, "version", None), "cuda", None),
    "python": platform.python_version(),
    "system": platform.freedesktop_os_release()["PRETTY_NAME"],
}))
"""


def docker(*words: str | Path) -> str:
    """Run `docker` and return its output. Ends the program with its error if it fails."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        fail(f"`docker {' '.join(map(str, words[:3]))} …` failed: {done.stderr.strip()}")
    return done.stdout.strip()


def setting(name: str) -> str:
    """Return a variable that the workflow sets. Ends the program if it is not set."""
    return os.environ.get(name) or fail(f"{name} is not set: .github/workflows sets it.")


def repository() -> str:
    """Return where images are published. Registries want small letters."""
    return setting("REPOSITORY").lower()


def short(digest: str) -> str:
    """Return the first 12 hexadecimal digits of a digest."""
    return digest.partition(":")[2][:12]


def table(head: tuple, rows: list[tuple]) -> Iterator[str]:
    """Yield the lines of a Markdown table. Numbers are aligned to the right."""
    right = [isinstance(cell, (int, float)) for cell in rows[0]] if rows else [False] * len(head)
    for row in (head, ["---:" if number else "---" for number in right], *rows):
        yield "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |"


# ---- push ----


def push() -> None:
    """Push the image that was tested, and check that the same image arrived with an SBOM."""
    digest = setting("DIGEST")
    machine = platform.machine()
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    facts = {"build": setting("TORCH_BUILD"), "architecture": architecture, "digest": digest}
    output = docker("run", "--rm", "--network=none", digest, "python", "-c", FACTS)
    facts |= json.loads(output.splitlines()[-1])
    label = '{{index .Config.Labels "org.opencontainers.image.base.name"}}'
    facts["base"] = docker("image", "inspect", "--format", label, digest)
    found = re.search(
        r"^Build[Kk]it(?: version)?: +(\S+)", docker("buildx", "inspect"), re.MULTILINE
    )
    facts["buildkit"] = found.group(1) if found else ""
    name = f"{repository()}:{facts['build']}-{architecture}-{short(digest)}"
    docker("tag", digest, name)
    docker("push", "--quiet", name)
    if digest_of(name) != digest:
        fail(f"{name} is {digest_of(name)} in the registry, but {digest} was pushed: run it again.")
    sbom = check_attestations(f"{repository()}@{digest}", facts["packages"])
    REPORTS.mkdir(exist_ok=True)
    (REPORTS / "sbom.json").write_text(json.dumps(sbom))
    (REPORTS / "pushed.json").write_text(json.dumps(facts, indent=1) + "\n")
    say(f"Pushed {name}")


def digest_of(name: str) -> str:
    """Return the digest of an image in a registry, or "" if the registry does not have it."""
    words = ["docker", "buildx", "imagetools", "inspect", "--format", "{{json .Manifest}}", name]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode and "not found" not in done.stderr:
        fail(f"the registry does not say what {name} is: {done.stderr.strip()}")
    return "" if done.returncode else json.loads(done.stdout)["digest"]


def attached(name: str, what: str) -> dict:
    """Return the SBOM or the Provenance of an image in a registry."""
    words = ("buildx", "imagetools", "inspect", "--format", f"{{{{json .{what}}}}}", name)
    found = json.loads(docker(*words)) or {}
    # An image for several platforms has one for each.
    return found if {"SPDX", "SLSA"} & found.keys() else next(iter(found.values()), {})


def check_attestations(name: str, packages: dict[str, str]) -> dict:
    """Check that an image in a registry has provenance, and an SBOM with all Python packages.

    Return the SBOM.
    """
    sbom = attached(name, "SBOM").get("SPDX") or fail(
        f"{name} has no SBOM: set `sbom` where .github/workflows/images.yml builds it."
    )
    if not attached(name, "Provenance").get("SLSA"):
        fail(f"{name} has no provenance: set `provenance` in .github/workflows/images.yml.")
    listed = {
        (normalize(package.get("name", "")), package.get("versionInfo"))
        for package in sbom.get("packages", [])
    }
    missing = [
        f"{package} {version}"
        for package, version in sorted(packages.items())
        if (normalize(package), version) not in listed
    ]
    if missing:
        fail(f"the SBOM of {name} lacks {', '.join(missing)}: choose another SBOM_GENERATOR.")
    say(f"The SBOM lists all {len(packages)} Python packages of the image")
    return sbom


def normalize(name: str) -> str:
    """Return a package name as package indexes compare it."""
    return name.lower().replace("_", "-").replace(".", "-")


# ---- publish ----


def publish(folder: Path, patterns: list[str]) -> None:
    """Give the pushed images their tags, and check what is behind each tag afterwards.

    `patterns` are tags with {version}, {build} and {digest} to fill in, the first one without
    {digest}. That one never moves: if it names another image already, nothing is published. The
    images of one build for several architectures become one image.
    """
    version = os.environ.get("GITHUB_REF_NAME", "").removeprefix("v")
    if version != build.version():
        fail(
            f"the tag is v{version}, but pyproject.toml has version {build.version() or 'none'}: "
            "tag the commit that has the version."
        )
    notes: dict[str, list[dict]] = {}
    for file in sorted(folder.glob("**/pushed.json")):
        try:
            facts = json.loads(file.read_text())
            missing = NOTED - facts.keys()
        except (ValueError, AttributeError):
            missing = {"JSON"}
        if missing:
            fail(f"{file} lacks {', '.join(sorted(missing))}: run `./crate step push` again.")
        notes.setdefault(facts["build"], []).append(facts)
    if not notes or not patterns:
        fail(f"{folder} has no pushed.json, or no tags are named: `./crate step push` comes first.")
    sources, wanted, firsts, published = {}, {}, {}, {}
    for name, found in sorted(notes.items()):  # check all images before the first one gets a tag
        if len({facts["architecture"] for facts in found}) < len(found):
            fail(f"{folder} has two images of {name} for one architecture: delete one.")
        sources[name] = [f"{repository()}@{facts['digest']}" for facts in found]
        for source in sources[name]:
            if not digest_of(source):
                fail(f"{source} is not in the registry: run `./crate step push`.")
        wanted[name] = set().union(*map(platforms, sources[name]))
        first = f"{repository()}:{patterns[0].format(version=version, build=name)}"
        firsts[name] = first
        if digest_of(first) and platforms(first) != wanted[name]:
            fail(f"{first} is published already, and another image: raise the project's version.")
    for name, first in firsts.items():
        docker("buildx", "imagetools", "create", "--tag", first, *sources[name])
        digest = digest_of(first)
        if platforms(first) != wanted[name]:
            fail(f"{first} is not the image that was tested, but {sorted(platforms(first))}.")
        words = {"version": version, "build": name, "digest": short(digest)}
        tags = [f"{repository()}:{pattern.format(**words)}" for pattern in patterns]
        more = [f"--tag={tag}" for tag in tags[1:]]
        if more:
            docker("buildx", "imagetools", "create", *more, f"{repository()}@{digest}")
        for tag in tags:
            if digest_of(tag) != digest:
                fail(f"{tag} is not {digest}, as {first} is.")
        published[name] = digest
        say(f"Published {', '.join(tags)}: {digest}")
    REPORTS.mkdir(exist_ok=True)
    references = "".join(f"{repository()}@{digest}\n" for digest in published.values())
    (REPORTS / "published.txt").write_text(references)
    (REPORTS / "release.md").write_text("\n".join(release(version, notes, published)) + "\n")


def platforms(name: str) -> set[str]:
    """Return the digests of an image's manifests: one for each platform and attestation."""
    index = json.loads(docker("buildx", "imagetools", "inspect", "--raw", name))
    return {manifest["digest"] for manifest in index.get("manifests", [])} or {digest_of(name)}


def release(version: str, notes: dict[str, list[dict]], published: dict[str, str]) -> Iterator[str]:
    """Yield the lines of the release's text: what is in the images, and how to get them."""
    head = ("image", "torch", "CUDA", "Python", "system", "base image", "for", "digest")
    rows = []
    for name, found in sorted(notes.items()):
        facts = found[0]
        row = [f"`{version}-{name}`", facts["torch"], facts["cuda"] or "none", facts["python"]]
        row += [facts["system"], base_of(f"{repository()}@{facts['digest']}", facts["base"])]
        row += [", ".join(f["architecture"] for f in found), f"`{published[name]}`"]
        rows.append(tuple(row))
    yield from table(head, rows)
    versions = sorted({one["buildkit"] or "unknown" for found in notes.values() for one in found})
    yield from ("", f"Built with BuildKit {', '.join(versions)}.")
    first = f"{repository()}@{next(iter(published.values()))}"
    yield from (
        *("", "```console"),
        f"$ docker pull {first}",
        f"$ docker buildx imagetools inspect --format '{{{{json .SBOM}}}}' {first}",
        f"$ docker buildx imagetools inspect --format '{{{{json .Provenance}}}}' {first}",
        "```",
    )


def base_of(name: str, base: str) -> str:
    """Return the base image of an image in a registry, with the digest from its provenance."""
    slsa = attached(name, "Provenance")["SLSA"]
    materials = slsa.get("materials") or slsa["buildDefinition"]["resolvedDependencies"]
    for material in materials:
        image = unquote(material["uri"].removeprefix("pkg:docker/").partition("?")[0])
        if image.replace("@", ":") == base.partition("@")[0]:
            return f"`{base.partition('@')[0]}@sha256:{material['digest']['sha256']}`"
    return f"`{base}`"


def main(options: Namespace) -> None:
    """Run a step."""
    if options.step == "push":
        push()
    else:
        folder = options.words[0] if options.words else fail("name a folder: publish FOLDER TAG...")
        publish(Path(folder), options.words[1:])
