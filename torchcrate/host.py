"""What a build must know about this machine: its package index and its CA bundle."""

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

# The git variables that are kept: how to reach a server, and where the user's settings are. The
# others name the caller's repository, and a git hook sets them. With GIT_DIR git would change that
# repository, in any folder. So this program and all that it starts drop them.
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


def home(path: str) -> str:
    """Return a path with a `~` replaced. Path.expanduser raises an error for an unknown user."""
    return os.path.expanduser(path)  # noqa: PTH111


def fail(message: str) -> NoReturn:
    """End the program with one sentence."""
    sys.exit(f"ERROR: {masked(message)}")


def say(message: str) -> None:
    """Print one line at once, also into a log."""
    print(masked(message), flush=True)


def masked(text: str) -> str:
    """Return a text with users and passwords in addresses masked."""
    return re.sub(r"(\w://)[^/\s\"'@]+@", r"\1***@", text)


def check_address(name: str, url: str) -> str:
    """Return an address, or "". Ends the program if it is not an address or has a password."""
    if "@" in url:  # anywhere: a password may have a / in it
        fail(
            f"{name} holds a user or a password, which would stay readable in logs, locks and "
            "images: take it out, put it into ~/.netrc, and add NETRC=$HOME/.netrc to builds."
        )
    if url and not re.fullmatch(r"\w+://\S+", url):
        fail(
            f"{name} is {url!r}, which is not an address: give one like https://mirror.example/simple."
        )
    return url


def check_addresses() -> None:
    """End the program if an address in the environment has a user or a password."""
    for name in (*ADDRESSES, *(() if os.environ.get("INDEX_URL") else ("PIP_INDEX_URL",))):
        check_address(name, os.environ.get(name, ""))


def run(command: list, **more) -> int:
    """Run a command, print its output with passwords masked, and return its exit code.

    `more` is for subprocess.Popen.
    """
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1, **more
    ) as process:
        for line in process.stdout or ():
            print(masked(line), end="", flush=True)
    return process.returncode


def pip(*arguments: str) -> str:
    """Return what pip prints, or "" without pip."""
    command = [sys.executable, "-m", "pip", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def index_url() -> str:
    """Return the package index for a build, or "" if the default index works.

    That is INDEX_URL, or the index in pip's configuration. Otherwise it is pip's default, if that
    has no JSON page for each release: Poetry needs those pages for the default index, but not for
    an index that it is given. Ends the program if an address has a password.
    """
    check_addresses()
    named = os.environ.get("INDEX_URL") or os.environ.get("PIP_INDEX_URL")
    if named:
        return named
    configured = dict(re.findall(r"^(\w+)\.index-url='(.+)'$", pip("config", "list"), re.M))
    if configured:  # a command's section comes before the global one, as in pip
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
        return ""  # out of reach: the build will say so


def ca_bundle() -> Path | None:
    """Return the file with the certificates that this machine trusts, or None.

    A build gets it as a secret, so that downloads work behind a proxy that re-signs TLS.
    """
    candidates = (
        os.environ.get("REQUESTS_CA_BUNDLE"),
        ssl.get_default_verify_paths().cafile,  # reads SSL_CERT_FILE
        "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu
        "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora
    )
    for name in candidates:
        if name and Path(name).is_file():
            return Path(name)
    return None


def answers(url: str) -> bool:
    """Return whether a URL can be read."""
    try:
        with urllib.request.urlopen(url, timeout=10):
            return True
    except OSError:
        return False
