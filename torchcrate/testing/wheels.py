"""Read the torch locks."""

import re

# A pin in a torch lock.
PIN = re.compile(r"^(?P<name>[\w.-]+)===?(?P<version>[^\s;\\]+)(?P<marker>[^\\\n]*)", re.MULTILINE)


def cuda(build: str) -> str | None:
    """Return the CUDA version that a build's name says: "13.0" for cu130, None for cpu."""
    found = re.fullmatch(r"cu(\d+)(\d)", build)
    return f"{found.group(1)}.{found.group(2)}" if found else None
