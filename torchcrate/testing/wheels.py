"""Make wheels of a few kilobytes, and read the torch locks."""

import base64
import hashlib
import re
import zipfile
from pathlib import Path

# A pin in a torch lock.
PIN = re.compile(r"^(?P<name>[\w.-]+)===?(?P<version>[^\s;\\]+)(?P<marker>[^\\\n]*)", re.MULTILINE)


def cuda(build: str) -> str | None:
    """Return the CUDA version that a build's name says: "13.0" for cu130, None for cpu."""
    found = re.fullmatch(r"cu(\d+)(\d)", build)
    return f"{found.group(1)}.{found.group(2)}" if found else None


# A module with the package's name.
ANY = {"{module}.py": "__version__ = {version!r}\n"}


def wheel(
    folder: Path,
    name: str,
    version: str,
    build: str,
    requires: list[str],
    modules: dict[str, str] = ANY,
) -> Path:
    """Write one stub wheel, the same bytes every time, and return its file.

    The modules are {path: text}, with {module}, {version} and {cuda} to fill in.
    """
    module = re.sub(r"[-.]+", "_", name)
    words = {
        "module": module,
        "version": version if "+" in version else f"{version}+{build}",
        "cuda": cuda(build),
    }
    files = {path.format(**words): text.format(**words) for path, text in modules.items()}
    info = f"{module}-{version}.dist-info"
    files[f"{info}/METADATA"] = "\n".join(
        ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        + [f"Requires-Dist: {requirement}" for requirement in requires]
        + ["", ""]
    )
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
        record += f"{path},sha256={digest.rstrip('=')},{len(text.encode())}\n"
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path), text)  # its time is always 1980-01-01
    return target
