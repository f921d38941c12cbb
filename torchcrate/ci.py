"""The steps of .github/workflows that are more than a command, one each.

    ./crate step room        make room on the disk for the image
    ./crate step store       see that the engine can write a build cache to a registry
    ./crate step image       build the image of BUILD, with the cache at CACHE
    ./crate step test        hold the contract against it, and note its digest
    ./crate step push        push exactly that
    ./crate step publish FOLDER
                      give tags to the images whose notes are below a folder, and to no other
    ./crate step summary     say what was built, tested and found wanting, in Markdown

The workflow sets BUILD, CACHE, CACHE_WRITE and SBOM_GENERATOR (docker-bake.hcl says what they are)
and REPOSITORY, where images are published, such as ghcr.io/owner/project. What a step finds
out it leaves for the next below reports/.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

from torchcrate import build, engine
from torchcrate.host import TOP, fail, say

REPORTS = TOP / "reports"
GIB = 2**30
# What building, storing, testing and pushing an image takes at most, as was measured.
NEEDED = {"gpu": 22 * GIB, "cpu": 8 * GIB}
# What GitHub's runners bring that no step here has a use for.
UNUSED = (
    *("/opt/ghc", "/opt/hostedtoolcache/CodeQL", "/usr/local/.ghcup", "/usr/local/lib/android"),
    *("/usr/share/dotnet", "/usr/share/swift"),
)
FACTS = """
import importlib.metadata, json, platform, torch
os_release = platform.freedesktop_os_release()
print(json.dumps({
    "packages": {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()},
    "torch": torch.__version__,
    "cuda": getattr(getattr(torch, "version", None), "cuda", None),
    "python": platform.python_version(),
    "system": os_release["PRETTY_NAME"],
}))
"""


# ---- what the steps share ----


def docker(*words: str | Path, **more) -> str:
    """Run `docker` and return what it prints. Ends the program with what it says if it fails."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False, **more)
    if done.returncode:
        fail(f"`docker {' '.join(map(str, words[:3]))} …` failed: {done.stderr.strip()}")
    return done.stdout.strip()


def setting(name: str) -> str:
    """Return an environment variable that the workflow sets. Ends the program where it does not."""
    return os.environ.get(name) or fail(f"{name} is not set: .github/workflows/image.yml sets it.")


def torch_build() -> str:
    """Return the torch build of this job."""
    return setting("BUILD")


def tag() -> str:
    """Return the name that `docker buildx bake` gives this job's image."""
    return f"{build.image_name()}:{torch_build()}"


def repository() -> str:
    """Return where images are published; registries know no capital letters."""
    return setting("REPOSITORY").lower()


def architecture() -> str:
    """Return this machine's architecture as images name it."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def write(name: str, facts: dict) -> None:
    """Leave facts for a later step."""
    REPORTS.mkdir(exist_ok=True)
    (REPORTS / name).write_text(json.dumps(facts, indent=1) + "\n")


def read(name: str) -> dict:
    """Return what an earlier step left, empty where it did not come that far."""
    file = REPORTS / name
    return json.loads(file.read_text()) if file.is_file() else {}


def free(folder: Path | str = TOP) -> float:
    """Return the free space of a folder's disk in GiB."""
    return shutil.disk_usage(folder).free / GIB


def table(head: tuple, rows: list[tuple]) -> Iterator[str]:
    """Yield a Markdown table, with numbers to the right."""
    right = [isinstance(cell, (int, float)) for cell in rows[0]] if rows else [False] * len(head)
    for row in (head, ["---:" if number else "---" for number in right], *rows):
        yield "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |"


# ---- the steps of a job that builds an image ----


def room() -> None:
    """Delete what GitHub's runners bring if the image needs the room, and say what is left."""
    kind = "cpu" if os.environ.get("BUILD") == "cpu" else "gpu"
    root = engine.quiet(["docker", "info", "--format", "{{.DockerRootDir}}"]) or "/"
    root = root if Path(root).is_dir() else "/"
    hosted = os.environ.get("RUNNER_ENVIRONMENT") == "github-hosted"
    wanted = f"the {kind.upper()} image's job takes up to {NEEDED[kind] / GIB:.0f}"
    say(f"{root} has {free(root):.1f} GiB free, and {wanted}")
    if free(root) * GIB < NEEDED[kind] and hosted:
        for folder in UNUSED:
            subprocess.run(["sudo", "rm", "-rf", folder], check=True)
        say(f"… {free(root):.1f} GiB without {', '.join(UNUSED)}")
    if free(root) * GIB < NEEDED[kind]:
        fail(
            f"{root} has {free(root):.1f} GiB free, and {wanted}: take a larger runner "
            "(`runs-on` in .github/workflows)."
        )
    write("room.json", {"before": free(root), "root": root})


def store() -> None:
    """See that images are in containerd's store, which Docker uses by default from version 29.

    With the other one the engine itself cannot export a build cache or keep provenance; a builder
    in a container can, and would have to hand the image over, gigabytes written a second time.
    """
    if not containerd() and os.environ.get("RUNNER_ENVIRONMENT") == "github-hosted":
        file = Path("/etc/docker/daemon.json")
        settings = json.loads(file.read_text()) if file.is_file() else {}
        settings.setdefault("features", {})["containerd-snapshotter"] = True
        install = ["sudo", "install", "-D", "--mode=644", "/dev/stdin", file]
        subprocess.run(install, input=json.dumps(settings), text=True, check=True)
        subprocess.run(["sudo", "systemctl", "restart", "docker"], check=True)
    if not containerd():
        fail(
            "the engine's image store is not containerd's: put "
            '{"features": {"containerd-snapshotter": true}} into /etc/docker/daemon.json and run '
            "`sudo systemctl restart docker`."
        )
    say("The engine's image store is containerd's")


def containerd() -> bool:
    """Return whether the engine keeps images in containerd's store."""
    return "io.containerd.snapshotter" in docker("info", "--format", "{{json .DriverStatus}}")


def image() -> None:
    """Build the image, as it would be published: zstd layers, provenance, SBOM."""
    REPORTS.mkdir(exist_ok=True)
    built = REPORTS / "built.json"
    os.environ["CACHE"] = os.environ.get("CACHE", "").lower()
    options = (
        *("--progress=plain", f"--metadata-file={built}"),
        f"--set=*.output=type=image,name={tag()},compression=zstd,oci-mediatypes=true,unpack=true",
    )
    environment = engine.connect()
    try:
        build.build(environment, torch_build(), dev=False, options=options)
    except SystemExit:
        if not os.environ["CACHE"]:
            raise
        # A blob that the cache names and does not have (anymore) fails the build.
        say("Once more without the cache, which may be what ails it")
        build.build(environment | {"CACHE": ""}, torch_build(), dev=False, options=options)


def test() -> None:
    """Hold the contract against the image, and note the digest of what passed."""
    digest = docker("image", "inspect", "--format", "{{.Id}}", tag())
    (REPORTS / "tested.json").unlink(missing_ok=True)
    command = [TOP / "crate", "contract", f"--build={torch_build()}", tag()]
    command += shlex.split(os.environ.get("PYTEST_ARGS", ""))
    if subprocess.run(command, cwd=TOP).returncode:
        sys.exit(1)  # pytest has said why
    if docker("image", "inspect", "--format", "{{.Id}}", tag()) != digest:
        fail(f"{tag()} became another image while it was tested: run this step again.")
    found = docker("run", "--rm", "--network=none", tag(), "python", "-c", FACTS)
    facts = json.loads(found.splitlines()[-1])
    label = '{{index .Config.Labels "org.opencontainers.image.base.name"}}'
    facts["base"] = docker("image", "inspect", "--format", label, tag())
    facts |= {"build": torch_build(), "architecture": architecture(), "digest": digest}
    write("tested.json", facts | {"tests": results()})


def results() -> dict[str, int]:
    """Return how many tests pytest's report says passed, failed and were skipped."""
    file = REPORTS / "junit.xml"
    found = {"passed": 0, "failed": 0, "skipped": 0}
    if file.is_file():
        for case in ElementTree.parse(file).iter("testcase"):
            outcomes = {child.tag for child in case}
            failed = outcomes & {"failure", "error"}
            found["failed" if failed else "skipped" if "skipped" in outcomes else "passed"] += 1
    return found


def push() -> None:
    """Push the image that was tested, under a tag with its digest, and look at what came there."""
    facts = tested(REPORTS / "tested.json")
    here = docker("image", "inspect", "--format", "{{.Id}}", tag())
    if here != facts["digest"]:
        fail(f"{tag()} is {here}, and {facts['digest']} was tested: run `./crate step test`.")
    name = f"{repository()}:{facts['build']}-{facts['architecture']}-{short(here)}"
    docker("tag", tag(), name)
    docker("push", "--quiet", name)
    if digest_of(name) != here:
        fail(f"{name} is {digest_of(name)} in the registry, and {here} was pushed.")
    check_attestations(f"{repository()}@{here}", facts)
    say(f"Pushed {name}")


# ---- the steps of the job that publishes ----


def tested(file: Path) -> dict:
    """Return a note of `./crate step test`. Ends the program where the tests did not pass."""
    facts = json.loads(file.read_text()) if file.is_file() else {}
    counts = facts.get("tests", {})
    if not facts.get("digest") or not counts.get("passed") or counts.get("failed"):
        fail(f"{file} is no note of an image whose tests passed: run `./crate step test`.")
    return facts


def short(digest: str) -> str:
    """Return as much of a digest as a tag has room for."""
    return digest.partition(":")[2][:12]


def digest_of(name: str) -> str:
    """Return the digest of an image in a registry, "" where it has none of that name."""
    words = ["docker", "buildx", "imagetools", "inspect", "--format", "{{json .Manifest}}", name]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode and "not found" not in done.stderr:
        fail(f"the registry does not say what {name} is: {done.stderr.strip()}")
    return "" if done.returncode else json.loads(done.stdout)["digest"]


def platforms(name: str) -> set[str]:
    """Return the digests of the images for each platform, and of what is attached to them."""
    index = json.loads(docker("buildx", "imagetools", "inspect", "--raw", name))
    return {manifest["digest"] for manifest in index.get("manifests", [])} or {digest_of(name)}


def attached(name: str, what: str) -> dict:
    """Return the SBOM or the Provenance of an image in a registry."""
    words = ("buildx", "imagetools", "inspect", "--format", f"{{{{json .{what}}}}}", name)
    found = json.loads(docker(*words)) or {}
    # Of an image for several platforms it is one for each.
    return found if {"SPDX", "SLSA"} & found.keys() else next(iter(found.values()), {})


def check_attestations(name: str, facts: dict) -> None:
    """See that an image in a registry says how it was built, and lists its Python packages."""
    if not attached(name, "SBOM").get("SPDX"):
        fail(f"{name} has no SBOM: set SBOM_GENERATOR when it is built.")
    if not attached(name, "Provenance").get("SLSA"):
        fail(f"{name} has no provenance: set SBOM_GENERATOR when it is built.")
    listed = {
        (normalize(package.get("name", "")), package.get("versionInfo"))
        for package in attached(name, "SBOM").get("SPDX", {}).get("packages", [])
    }
    missing = [
        f"{package} {version}"
        for package, version in sorted(facts["packages"].items())
        if (normalize(package), version) not in listed
    ]
    if missing:
        fail(f"the SBOM of {name} lacks {', '.join(missing)}: see what SBOM_GENERATOR can find.")
    say(f"The SBOM lists all {len(facts['packages'])} Python packages of the image")


def normalize(name: str) -> str:
    """Return a package name as package indexes compare it."""
    return name.lower().replace("_", "-").replace(".", "-")


def publish(folder: Path) -> None:
    """Give the tested images their tags: version and build, build, and build and digest.

    The notes of one build for several architectures become one image. Nothing else that is in the
    registry gets a tag, and what is behind a tag afterwards is looked at.
    """
    version = os.environ.get("GITHUB_REF_NAME", "").removeprefix("v")
    if version != build.version():
        fail(
            f"the tag is v{version}, and pyproject.toml has version {build.version() or 'none'}: "
            "tag the commit that has the version."
        )
    notes: dict[str, list[dict]] = {}
    for file in sorted(folder.glob("**/tested.json")):
        facts = tested(file)
        notes.setdefault(facts["build"], []).append(facts)
    if not notes:
        fail(f"{folder} has no note of a tested image: the jobs before leave them.")
    sources, wanted, published = {}, {}, {}
    for name, found in sorted(notes.items()):  # nothing gets a tag before all have been looked at
        if len({facts["architecture"] for facts in found}) < len(found):
            fail(f"{folder} has two notes of {name} for one architecture: leave one.")
        sources[name] = [f"{repository()}@{facts['digest']}" for facts in found]
        for source in sources[name]:
            if not digest_of(source):
                fail(f"{source} was tested and is not in the registry: run `./crate step push`.")
        wanted[name] = set().union(*map(platforms, sources[name]))
        first = f"{repository()}:{version}-{name}"
        if digest_of(first) and platforms(first) != wanted[name]:
            fail(f"{first} is published already, and another image: raise the project's version.")
    for name in sources:
        first = f"{repository()}:{version}-{name}"
        docker("buildx", "imagetools", "create", "--tag", first, *sources[name])
        digest = digest_of(first)
        if platforms(first) != wanted[name]:
            fail(f"{first} is not what was tested, but {sorted(platforms(first))}.")
        more = [f"--tag={repository()}:{name}", f"--tag={repository()}:{name}-{short(digest)}"]
        docker("buildx", "imagetools", "create", *more, f"{repository()}@{digest}")
        for other in (name, f"{name}-{short(digest)}"):
            if digest_of(f"{repository()}:{other}") != digest:
                fail(f"{repository()}:{other} is not {digest}, as {first} is.")
        published[name] = digest
        say(f"Published {first}, {name} and {name}-{short(digest)}: {digest}")
    (REPORTS / "published.txt").parent.mkdir(exist_ok=True)
    references = "".join(f"{repository()}@{digest}\n" for digest in published.values())
    (REPORTS / "published.txt").write_text(references)
    (REPORTS / "release.md").write_text("\n".join(release(version, notes, published)) + "\n")


def release(version: str, notes: dict[str, list[dict]], published: dict[str, str]) -> Iterator[str]:
    """Yield what a release says: what is in the images, and how to get and check them."""
    head = ("image", "torch", "CUDA", "Python", "system", "base image", "for", "digest")
    rows = []
    for name, found in sorted(notes.items()):
        facts = found[0]
        row = [f"`{version}-{name}`", facts["torch"], facts["cuda"] or "none", facts["python"]]
        row += [facts["system"], base_of(f"{repository()}@{facts['digest']}", facts["base"])]
        row += [", ".join(f["architecture"] for f in found), f"`{published[name]}`"]
        rows.append(tuple(row))
    yield from table(head, rows)
    first = f"{repository()}@{next(iter(published.values()))}"
    yield from (
        *("", "```console"),
        f"$ docker pull {first}",
        f"$ docker buildx imagetools inspect --format '{{{{json .SBOM}}}}' {first}",
        f"$ docker buildx imagetools inspect --format '{{{{json .Provenance}}}}' {first}",
        "```",
    )


def base_of(name: str, base: str) -> str:
    """Return the base image of an image in a registry with the digest that its provenance has."""
    slsa = attached(name, "Provenance")["SLSA"]
    materials = slsa.get("materials") or slsa["buildDefinition"]["resolvedDependencies"]
    for material in materials:
        image = unquote(material["uri"].removeprefix("pkg:docker/").partition("?")[0])
        if image.replace("@", ":") == base.partition("@")[0]:
            return f"`{base.partition('@')[0]}@sha256:{material['digest']['sha256']}`"
    return f"`{base}`"


# ---- the summary ----


def summary() -> None:
    """Print what was built and tested, as far as it came; bake's own summary has the steps."""
    print(f"## {torch_build()}, {architecture()}\n")
    print(f"Tests: {', '.join(f'{n} {word}' for word, n in results().items())}.\n")
    facts, before = read("tested.json"), read("room.json")
    if facts:
        cuda = f", CUDA {facts['cuda']}" if facts["cuda"] else ""
        what = f"torch {facts['torch']}{cuda}, Python {facts['python']}, {facts['system']}, "
        print(f"{what}{len(facts['packages'])} Python packages: `{facts['digest']}`")
    if before:
        after = f"{free(before['root']):.1f} GiB after"
        print(f"\nDisk: {before['before']:.1f} GiB free before, {after}.")


STEPS = {
    **{"room": room, "store": store, "image": image, "test": test, "push": push},
    **{"publish": publish, "summary": summary},
}


def main(options: Namespace) -> None:
    """Run a step; see the top of this file."""
    if options.step == "publish":
        publish(Path(options.folder or fail("name the folder with the notes: publish FOLDER.")))
    else:
        STEPS[options.step]()
