"""What this machine has that a build must know of: its package index and its CA bundle."""

from __future__ import annotations  # a Mac's own Python is 3.9

import os
import re
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

TOP = Path(__file__).resolve().parent.parent  # the project's folder

# What commands here keep of git's variables: how to reach a server, and where the user's settings
# are. All others name the caller's repository, and a git hook sets them: with GIT_DIR, git would
# read and change that one, in whatever folder it is started. So this program and all that it starts
# forget them.
GIT_KEPT = (
    r"GIT_(SSH|SSL_|HTTP_|PROXY_|ASKPASS|TERMINAL_PROMPT|EXEC_PATH|CONFIG_(GLOBAL|.*SYSTEM)$)"
)
for _name in [n for n in os.environ if n.startswith("GIT_") and not re.match(GIT_KEPT, n)]:
    del os.environ[_name]

# Addresses that end up in logs, locks and images.
ADDRESSES = ("INDEX_URL", "TORCH_INDEX_URL", "APT_MIRROR", "PPA_URL")


def argument(name: str, project: Path = TOP) -> str:
    """Return the default of a build argument of a project's Dockerfile."""
    text = (project / "Dockerfile").read_text()
    return re.search(rf"^ARG {name}=(.*)$", text, re.M).group(1)


def fail(message: str) -> NoReturn:
    """End the program with one sentence."""
    sys.exit(f"ERROR: {masked(message)}")


def say(message: str) -> None:
    """Print one line at once, also where the output is a log."""
    print(masked(message), flush=True)


def masked(text: str) -> str:
    """Return a text without the user and the password that addresses in it may have."""
    return re.sub(r"(\w://)[^/\s\"'@]+@", r"\1***@", text)


def check_address(name: str, url: str) -> str:
    """Return an address, which may be "". Ends the program where it is none, or has a password."""
    if "@" in url:  # anywhere: a password may have a / in it
        fail(
            f"{name} holds a user or a password, which would stay readable in logs, locks and "
            "images: take it out, put it into ~/.netrc, and add NETRC=$HOME/.netrc to builds."
        )
    if url and not re.fullmatch(r"\w+://\S+", url):
        fail(
            f"{name} is {url!r}, which is no address: give one like https://mirror.example/simple."
        )
    return url


def check_addresses() -> None:
    """End the program where the environment has an address with a user or a password in it."""
    for name in (*ADDRESSES, *(() if os.environ.get("INDEX_URL") else ("PIP_INDEX_URL",))):
        check_address(name, os.environ.get(name, ""))


def run(command: list, **more) -> int:
    """Run a command, print what it says with passwords masked, and return its exit code.

    `more` is for subprocess.Popen.
    """
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1, **more
    ) as process:
        for line in process.stdout or ():
            print(masked(line), end="", flush=True)
    return process.returncode


def pip(*arguments: str) -> str:
    """Return what pip prints, or "" where there is no pip."""
    command = [sys.executable, "-m", "pip", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def index_url() -> str:
    """Return the package index to hand to a build, or "" where its tools' default one will do.

    That is INDEX_URL, or the index that pip is configured to use. Without either it is pip's
    default, if that does not serve the JSON page of each release, as a mirror in its place may
    not: Poetry relies on those for the default index, but not for one that it is told. Ends the
    program where an address has a password in it.
    """
    check_addresses()
    named = os.environ.get("INDEX_URL") or os.environ.get("PIP_INDEX_URL")
    if named:
        return named
    configured = dict(re.findall(r"^(\w+)\.index-url='(.+)'$", pip("config", "list"), re.M))
    if configured:  # the section of a command counts more than the global one, as for pip
        found = configured.get("install") or configured.get("global") or ""
        return check_address("index-url in pip's configuration", found)
    default = re.search(r"\(default\s+(https://\S+)\)", pip("download", "--help"))
    if not default:
        return ""
    page = f"https://{urlsplit(default.group(1)).netloc}/pypi/pip/25.0/json"
    try:
        with urllib.request.urlopen(page, timeout=20):
            return ""
    except urllib.error.HTTPError:
        return default.group(1)
    except OSError:
        return ""  # out of reach: what needs it will say so


def ca_bundle() -> Path | None:
    """Return the file with the certificates that this machine trusts, if it has one.

    It goes into a build as a secret, so that downloads work behind a proxy that re-signs TLS.
    """
    candidates = (
        os.environ.get("REQUESTS_CA_BUNDLE"),
        ssl.get_default_verify_paths().cafile,  # minds SSL_CERT_FILE
        "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu
        "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora
    )
    for name in candidates:
        if name and Path(name).is_file():
            return Path(name)
    return None


def answers(url: str) -> bool:
    """Return whether a URL can be read; a proxy that forbids it is no answer."""
    try:
        with urllib.request.urlopen(url, timeout=10):
            return True
    except OSError:
        return False
