"""Start a private Docker Engine if there is none, and make a base image without Docker Hub.

On Debian or Ubuntu, as root, `prepare()` starts a private engine if no engine answers. It unpacks
packages that apt has verified into the folder private-docker-engine in ENGINE_DIR (default:
~/.cache), and installs nothing. The socket is there too. Elsewhere only the network rules change
that every engine makes. The folder stays, so that the next start takes seconds. A file marks it;
without that file nothing in the folder is used or deleted.
"""

from __future__ import annotations  # a Mac's own Python is 3.9

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torchcrate import engine, host
from torchcrate.engine import HOW, Environment, quiet, version
from torchcrate.host import fail, say

# As in Docker Hub's images of Debian and Ubuntu: dpkg does not sync each file to the disk, and apt
# fetches no translations.
AS_DOCKER_HUB = """
echo force-unsafe-io > "$1/etc/dpkg/dpkg.cfg.d/docker-apt-speedup"
echo 'Acquire::Languages "none";' > "$1/etc/apt/apt.conf.d/docker-no-languages"
"""

# Debian's stable Docker is old, so these come from testing, which runs on stable too. Packages
# that depend on the kernel or on glibc come from the system's own release.
NEW = ("containerd", "docker-buildx", "docker-cli", "docker.io", "tini-static")
OWN = ("docker-registry", "iptables", "mmdebstrap", "runc")

# The file that marks a folder as a private engine's.
MARK = ".private-docker-engine"


def folder() -> Path:
    """Return the private engine's folder, in ENGINE_DIR or the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return (Path(os.environ.get("ENGINE_DIR") or cache) / "private-docker-engine").absolute()


def claim(top: Path) -> None:
    """Mark a folder as a private engine's. Ends the program if it has other files and no mark."""
    top.mkdir(parents=True, exist_ok=True)
    # List first, then look for the mark: another process that claims the folder writes it first.
    if any(path.name != MARK for path in top.iterdir()) and not (top / MARK).is_file():
        fail(
            f"{top} is not empty, and no private engine made it: move it away, or name another "
            "folder with ENGINE_DIR=FOLDER."
        )
    (top / MARK).write_text("A private Docker Engine of template/engine.py made this folder.\n")


def private_environment(top: Path) -> Environment:
    """Return an environment in which `docker` is the private engine's client."""
    root = top / "root"
    return {
        **os.environ,
        "PATH": f"{top}/bin:{root}/usr/bin:{root}/usr/sbin:{root}/sbin:{os.environ['PATH']}",
        "DOCKER_HOST": f"unix://{top}/docker.sock",
        "DOCKER_CONFIG": f"{top}/config",
    }


def prepare() -> None:
    """Start a private engine if none answers, and choose the base image; make it if necessary.

    Both are then in os.environ. Ends the program with one sentence if this fails, or if there is an
    engine that does not answer.
    """
    there = os.environ.get("DOCKER_HOST") or shutil.which("dockerd")
    if not version(dict(os.environ)):
        if there or "permission denied" in engine.complaint(dict(os.environ)):
            engine.connect()  # fails and says why
        os.environ.update(up())
        say(f"Engine: a private one in {folder()} (`./crate engine stop` ends it)")
    if not os.environ.get("BASE_IMAGE"):
        os.environ["BASE_IMAGE"] = base_image(dict(os.environ))


@contextmanager
def locked(top: Path, name: str = "lock") -> Iterator[None]:
    """Hold a lock in a private engine's folder, so that two processes start one engine."""
    claim(top)
    with (top / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def up() -> Environment:
    """Start the private engine if it does not run, and return its environment."""
    system = os_release()
    if not shutil.which("apt-get") or os.geteuid() != 0 or system["ID"] not in ("debian", "ubuntu"):
        fail(f"no Docker Engine answers: {HOW}.")
    top = folder()
    environment = private_environment(top)
    if len(str(top / "exec/containerd/containerd.sock.ttrpc")) > 100:
        fail(f"ENGINE_DIR={top} is too long for a socket's path: name a shorter one.")
    with locked(top):
        if version(environment):
            return environment
        if not (top / "root").exists():
            install(top, system)
        start(top, environment)
    return environment


def os_release() -> dict[str, str]:
    """Return /etc/os-release; a missing ID or VERSION_CODENAME is empty."""
    found = {"ID": "", "VERSION_CODENAME": ""}
    file = Path("/etc/os-release")
    for line in file.read_text().splitlines() if file.exists() else ():
        name, _, value = line.partition("=")
        found[name] = value.strip('"')
    return found


def archive(system: dict[str, str]) -> str:
    """Return the address of the distribution's archive, from this system's apt sources."""
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    text = "\n".join(file.read_text() for file in files if file.is_file())
    # "deb [options] URI suite component…" or "URIs: URI". Other archives have longer paths or
    # download.* hosts.
    found = re.search(
        rf"^(?:deb\s+(?:\[[^]]*\]\s+)?|URIs:\s*)"
        rf"(https?://(?!download\.)[^/\s]+/{system['ID']}(?:-ports)?/?)(?=\s|$)",
        text,
        re.MULTILINE,
    )
    if not found:
        fail(
            f"no Docker Engine answers and apt has no {system['ID']} archive in its sources: {HOW}."
        )
    return found.group(1)


def packages() -> Path:
    """Return the folder with the private engine's packages. Fetches them if they are missing."""
    top = folder()
    with locked(top):
        if not (top / "root").exists():
            install(top, os_release())
    return top / "root"


def install(top: Path, system: dict[str, str]) -> None:
    """Download the engine's packages with apt, which checks their signatures, and unpack them."""
    say(f"Fetching a private Docker Engine and its tools into {top} (about 80 MB)")
    debian = system["ID"] == "debian"
    own = system["VERSION_CODENAME"]
    suites = f"{own} testing" if debian else f"{own} {own}-updates"
    with tempfile.TemporaryDirectory(dir=top) as work_folder:
        work = Path(work_folder)
        for name in ("etc", "lists/partial", "archives/partial", "new", "root"):
            (work / name).mkdir(parents=True)
        (work / "etc/engine.sources").write_text(
            f"Types: deb\nURIs: {archive(system)}\nSuites: {suites}\n"
            f"Components: {'main' if debian else 'main universe'}\n"
            f"Signed-By: /usr/share/keyrings/{system['ID']}-archive-keyring.gpg\n"
        )
        options = [
            # Only these sources and folders, so that the system's lists and cache do not change.
            *("-o", "Dir::Etc::SourceList=/dev/null", "-o", f"Dir::Etc::SourceParts={work}/etc"),
            *(
                "-o",
                "Dir::Etc::Preferences=/dev/null",
                "-o",
                "Dir::Etc::PreferencesParts=/dev/null",
            ),
            *(
                "-o",
                f"Dir::State::Lists={work}/lists",
                "-o",
                f"Dir::Cache::Archives={work}/archives",
            ),
            *("-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache="),
            *("-o", "APT::Sandbox::User=root", "-o", f"APT::Default-Release={own}"),
            *("-o", "DPkg::Lock::Timeout=60", "-qq"),
        ]

        def apt(*arguments: str, where: Path = work) -> None:
            done = subprocess.run(
                ["apt-get", *options, *arguments], cwd=where, capture_output=True, text=True
            )
            if done.returncode:
                fail(f"apt could not fetch a Docker Engine ({done.stderr.strip()}): {HOW}.")

        apt("update")
        new = [name for name in NEW if debian or name not in ("docker-cli", "tini-static")]
        apt(
            "download", *(f"{name}/testing" if debian else name for name in new), where=work / "new"
        )
        # With the libraries that this system lacks. Nothing is installed.
        apt("install", "--download-only", "--no-install-recommends", "--yes", "--reinstall", *OWN)
        packages = [*(work / "archives").glob("*.deb"), *(work / "new").glob("*.deb")]
        for package in packages:
            subprocess.run(["dpkg", "-x", package, work / "root"], check=True)
        (work / "root").rename(top / "root")


def start(top: Path, environment: Environment, *options: str) -> None:
    """Start dockerd with more `options`, and wait until it answers.

    Ends the program with the last lines of its log if it does not.
    """
    claim(top)
    stop(top)  # what a killed daemon left behind
    root = top / "root"
    libraries = [str(path) for path in root.glob("usr/lib/*-linux-gnu")]
    daemon_environment = {
        **environment,
        "LD_LIBRARY_PATH": ":".join([*libraries, *(str(p) for p in root.glob("lib/*-linux-gnu"))]),
        "XTABLES_LIBDIR": ":".join(f"{path}/xtables" for path in libraries),
    }
    shutil.rmtree(top / "bin", ignore_errors=True)
    (top / "bin").mkdir()
    # The kernel may support only one of the two packet filters.
    for kind in ("nft", "legacy"):
        program = root / f"usr/sbin/xtables-{kind}-multi"
        if quiet([program, "iptables", "-t", "nat", "-L", "-n"], daemon_environment) is not None:
            break
    for name in ("iptables", "iptables-save", "iptables-restore"):
        (top / "bin" / name).symlink_to(program)
        (top / "bin" / name.replace("ip", "ip6", 1)).symlink_to(program)
    (top / "config").mkdir(exist_ok=True)
    plugins = str(root / "usr/libexec/docker/cli-plugins")
    (top / "config/config.json").write_text(json.dumps({"cliPluginsExtraDirs": [plugins]}))

    program = shutil.which("dockerd", path=environment["PATH"])  # in bin or sbin
    if not program:
        fail(f"the packages in {root} have no dockerd: {HOW}.")
    with (top / "dockerd.log").open("wb") as log:
        daemon = subprocess.Popen(
            [
                program,
                *("--config-file", "/dev/null", "--host", f"unix://{top}/docker.sock"),
                *("--data-root", top / "data", "--exec-root", top / "exec"),
                *("--pidfile", top / "dockerd.pid"),
                *options,
            ],
            env=daemon_environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C in `make` must not reach it
        )
    for _ in range(300):
        if version(environment):
            return
        if daemon.poll() is not None:
            break
        time.sleep(0.5)
    words = (top / "dockerd.log").read_text(errors="replace").strip().splitlines()[-3:]
    stop(top)
    fail("the private Docker Engine did not start: " + " / ".join(words) + f". Else {HOW}.")


def ours(pid_file: Path, top: Path) -> int | None:
    """Return the process in a pid file if it runs and belongs to this engine, else None."""
    try:
        pid = int(pid_file.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except (OSError, ValueError):
        return None
    return pid if f"{top}/" in command else None


def stop(top: Path) -> None:
    """End the private engine's processes and unmount its folders; its data stays."""
    for pid_file in (top / "dockerd.pid", top / "exec/containerd/containerd.pid"):
        pid = ours(pid_file, top)
        if pid:
            end(pid)
        pid_file.unlink(missing_ok=True)
    # Shims of containers that a killed daemon could not end.
    for process in Path("/proc").glob("[0-9]*"):
        command = process / "cmdline"
        try:
            words = command.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if Path(words[0]).name == "containerd-shim-runc-v2" and f"{top}/exec/" in " ".join(words):
            end(int(process.name))
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    roots = (f"{top}/data/", f"{top}/exec/")
    for mount in reversed([mount for mount in mounts if f"{mount}/".startswith(roots)]):
        quiet(["umount", "--lazy", mount])


def end(pid: int) -> None:
    """Ask a process to end, and kill it after 30 seconds."""
    for number, tries in ((signal.SIGTERM, 300), (signal.SIGKILL, 50)):
        try:
            os.kill(pid, number)
            for _ in range(tries):
                os.kill(pid, 0)
                stat = Path(f"/proc/{pid}/stat").read_text()
                if stat.rpartition(")")[2].split()[0] == "Z":
                    return
                time.sleep(0.1)
        except (ProcessLookupError, FileNotFoundError):
            return


def remove(top: Path) -> None:
    """Delete the private engine's files, and its folder if it is then empty."""
    claim(top)
    for name in ("bin", "config", "data", "exec", "root"):
        shutil.rmtree(top / name, ignore_errors=True)
    for name in ("docker.sock", "dockerd.log", "dockerd.pid", "lock", "base.lock", MARK):
        (top / name).unlink(missing_ok=True)
    if not any(top.iterdir()):
        top.rmdir()


def base_image(environment: Environment) -> str:
    """Return the base image: the Dockerfile's if available, else a Debian 12 made here."""
    made, wanted = "bootstrapped/debian:12", host.argument("BASE_IMAGE")
    for image in (wanted, made):
        if quiet(["docker", "image", "inspect", image], environment) is not None:
            return image
    if quiet(["docker", "pull", "--quiet", wanted], environment) is not None:
        return wanted
    say(f"Base: {wanted} cannot be pulled, so mmdebstrap makes a Debian 12")
    bootstrap(environment, made)
    return made


def bootstrap(environment: Environment, image: str, suite: str = "bookworm") -> None:
    """Make an image of Debian (default: 12) from Debian's archive, and import it.

    Does nothing if another process made it in the meantime.
    """
    system = os_release()
    if system["ID"] != "debian" or os.geteuid() != 0:
        fail("Docker Hub is out of reach: name an image that you have with BASE_IMAGE=<image>.")
    search = f"{packages()}/usr/bin:{environment['PATH']}"
    with locked(folder(), "base.lock"), tempfile.TemporaryDirectory() as work:
        if quiet(["docker", "image", "inspect", image], environment) is not None:
            return
        tar = Path(work) / "debian.tar"
        done = subprocess.run(
            [
                *("mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates"),
                f"--customize-hook={AS_DOCKER_HUB}",
                *(suite, tar, archive(system)),
            ],
            env={**os.environ, "PATH": search},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            fail(
                f"mmdebstrap made no Debian {suite} ({done.stderr.strip().splitlines()[-1:]}): "
                "name an image that you have with BASE_IMAGE=<image>."
            )
        subprocess.run(
            ["docker", "import", tar, image],
            env=environment,
            stdout=subprocess.DEVNULL,
            check=True,
        )


def main(options: Namespace) -> None:
    """Run `./crate engine`."""
    top = folder()
    if options.action == "start":
        prepare()
        if "DOCKER_HOST" in os.environ:
            say(f"For other programs: export DOCKER_HOST={os.environ['DOCKER_HOST']}")
    elif not top.exists():
        say(f"No private engine in {top}")
    else:
        with locked(top):
            stop(top)
        if options.action == "remove":
            remove(top)
        say(f"The private engine in {top} is {'gone' if options.action == 'remove' else 'stopped'}")
