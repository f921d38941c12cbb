"""What the system's packages generate is what their own files give."""

import re
from collections import Counter

BUNDLE = "etc/ssl/certs/ca-certificates.crt"
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?")
# Prints the files whose bytecode is not their source's, and how many have any.
BYTECODE = """
import importlib.util, marshal, pathlib
found = list(pathlib.Path("/usr/lib").glob("python3*/**/__pycache__/*.cpython-311.pyc"))
for file in found:
    source = pathlib.Path(importlib.util.source_from_cache(file))
    code = compile(source.read_bytes(), source, "exec", dont_inherit=True)
    if marshal.loads(file.read_bytes()[16:]) != code:
        print("wrong:", file)
print(len(found))
"""


def test_certificates(contents, seen):
    """The CA bundle has the certificates that ca-certificates lists, and nothing else."""
    files = contents.files
    listed = re.findall(r"^[^#!\s].*$", files["etc/ca-certificates.conf"].text, re.MULTILINE)
    sources = {f"usr/share/ca-certificates/{name}" for name in listed}
    # Of an organization's own base image.
    sources |= {p for p in contents.base_files if p.startswith("usr/local/share/ca-certificates/")}
    texts = [files[path].text for path in sources if path in files and not files[path].is_folder]
    bundle = files[BUNDLE].text
    rest = CERTIFICATE.sub("", bundle).strip()
    assert not rest, f"the CA bundle has {rest[:60]!r}"
    here = Counter(found.strip() for found in CERTIFICATE.findall(bundle))
    expected = Counter(found.strip() for text in texts for found in CERTIFICATE.findall(text))
    assert here == expected, f"{(here - expected).total()} more, {(expected - here).total()} less"
    links = {p: e for p, e in files.items() if p.startswith("etc/ssl/certs/") and p != BUNDLE}
    strange = [
        path
        for path, entry in links.items()
        if not (entry.is_link and (entry.target.lstrip("/") in sources or is_link(entry, links)))
    ]
    assert not strange, f"no package's certificate: {strange[:5]}"
    seen(f"{here.total()} certificates")


def is_link(entry, links):
    """Return whether a link in /etc/ssl/certs names another one there."""
    return "/" not in entry.target and f"etc/ssl/certs/{entry.target}" in links


def test_linker_cache(image, contents, docker_run, seen):
    """ld.so.cache is what ldconfig makes of the libraries that are there."""
    script = "ldconfig -X -C /tmp/cache && sha256sum /tmp/cache"
    done = docker_run(image, "sh", "-c", script, options=("--user=0:0", "--network=none"))
    assert done.returncode == 0, done.stderr
    made = done.stdout.split()[0]
    assert made == contents.files["etc/ld.so.cache"].sha256, "ldconfig makes another one"
    seen(f"{contents.files['etc/ld.so.cache'].size} bytes")


def test_system_bytecode(image, docker_run, seen):
    """The bytecode of the system's Python is that of its sources."""
    done = docker_run(image, "python3.11", "-c", BYTECODE, options=("--network=none",))
    assert done.returncode == 0, done.stderr
    *wrong, count = done.stdout.splitlines()
    assert not wrong, f"not its source's: {wrong[:5]}"
    seen(f"{count} files")
