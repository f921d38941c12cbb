"""Packages that are compiled against torch fit the image's torch, and have code for its GPUs."""

import json
import re

from torchcrate.stages.locks import split_locks

# Prints of each shared library in packages: its path, the GPUs that it has code for, and what it
# links to. The format is https://man7.org/linux/man-pages/man5/elf.5.html. NVIDIA does not describe
# .nv_fatbin; it has what cuobjdump lists: blocks with a header and entries, and each entry says
# what it is (1: PTX, 2: machine code) and for which GPU.
LOOK = """
import importlib.metadata as m, json, struct, sys

def sections(data):
    first, size, count, names = struct.unpack_from("<Q10xHHH", data, 40)
    heads = [struct.unpack_from("<IIQQQQ", data, first + i * size) for i in range(count)]
    for name, _, _, _, offset, length in heads:
        start = heads[names][4] + name
        yield data[start : data.index(0, start)].decode(), data[offset : offset + length]

def device_code(data):
    at, found = 0, set()
    while at + 16 <= len(data):
        magic, _, head, length = struct.unpack_from("<IHHQ", data, at)
        if magic != 0xBA55ED50:
            at += 8
            continue
        at, end = at + head, min(at + head + length, len(data) - 32)
        while at < end:
            kind, _, head, length = struct.unpack_from("<HHIQ", data, at)
            if head < 32:
                raise SystemExit(f"an entry of {head} bytes in .nv_fatbin")
            found.add((kind, struct.unpack_from("<I", data, at + 28)[0]))
            at += head + length
    return sorted(found)

def needs(found):
    for tag, value in struct.iter_unpack("<qQ", found.get(".dynamic", b"")):
        if tag == 1:
            yield found[".dynstr"][value:].partition(b"\\0")[0].decode()

for name in sys.argv[1:]:
    for file in m.distribution(name).files:
        if ".so" in file.suffixes:
            found = dict(sections(file.locate().read_bytes()))
            code = device_code(found.get(".nv_fatbin", b""))
            print(json.dumps([str(file), code, sorted(needs(found))]))
"""
# Prints which libraries the environment and the system have, and which GPUs torch has code for.
THERE = """
import json, pathlib, re, subprocess
import torch
venv = [p.name for p in pathlib.Path("/app/.venv").rglob("*.so*")]
cached = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True).stdout
config = getattr(torch, "__config__", None)
built = re.findall(r"code=sm_(\\d+)", config.show()) if config else []
print(json.dumps([venv, re.findall(r"^\\t(\\S+)", cached, re.M), sorted({*map(int, built)})]))
"""
IMPORTS = """
import importlib, importlib.metadata as m, sys
import torch
for module, names in m.packages_distributions().items():
    names = {name.lower().replace("_", "-") for name in names}
    if names & {*sys.argv[1:]} and module.isidentifier():
        importlib.import_module(module)
"""


def compiled(image):
    """Return the names of the project's packages that are compiled against torch."""
    pyproject = split_locks.read(image.project / "pyproject.toml")
    return sorted(split_locks.extensions(pyproject, split_locks.read_lock(image.project))[0])


def test_extensions(host, image, seen):
    """They have code for each GPU that was asked for, and link to libraries of the image alone."""
    names = compiled(image)
    lines = host.check_output("python -c %s " + " ".join(names), LOOK) if names else ""
    venv, system, built = json.loads(host.check_output("python -c %s", THERE))
    libraries = [json.loads(line) for line in lines.splitlines()]
    absent = {path: {*needs} - {*venv, *system, "libcuda.so.1"} for path, _, needs in libraries}
    assert not any(absent.values()), f"no such library: {absent}"
    asked = re.findall(r"(\d+)\.(\d)", image.build_arg("TORCH_CUDA_ARCH_LIST"))
    wanted = {int(major + minor) for major, minor in asked} or {*built}
    for path, code, needs in libraries:
        # A GPU runs machine code of its generation up to its own number, and any older PTX.
        there = [at for kind, at in code if kind == 2]
        missing = [
            gpu
            for gpu in sorted(wanted)
            if not any(at // 10 == gpu // 10 and at <= gpu for at in there)
            and not any(kind == 1 and at <= gpu for kind, at in code)
        ]
        if code or {"libc10_cuda.so", "libtorch_cuda.so"} & {*needs}:
            assert not missing, f"{path} has code for {there}, not for {missing}"
    gpus = sorted({at for _, code, _ in libraries for _, at in code})
    seen(f"{', '.join(names) or 'none'}; code for {gpus or 'no GPU'}")


def test_extensions_import(host, image, seen):
    """They can be imported, without a compiler."""
    names = compiled(image)
    host.check_output("python -c %s " + " ".join(names), IMPORTS)
    seen(", ".join(names) or "none")
