"""Outside /app each file is as its apt package has it, or what the packages' own scripts write.

The rules for each kind are in torchcrate/testing/system.py. A file that your Dockerfile adds goes
into tests/image/configuration.txt as a pattern: `/opt/tool/*`.
"""

import re
from collections import Counter

from torchcrate.testing import system

BUNDLE = "etc/ssl/certs/ca-certificates.crt"
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?")
# Prints the files whose bytecode is not their source's, and how many have any.
BYTECODE = """
import importlib.util, marshal, pathlib, sys
tag = sys.implementation.cache_tag
found = list(pathlib.Path("/usr/lib").glob(f"python3*/**/__pycache__/*.{tag}.pyc"))
for file in found:
    source = pathlib.Path(importlib.util.source_from_cache(file))
    code = compile(source.read_bytes(), source, "exec", dont_inherit=True)
    if file.is_symlink() or marshal.loads(file.read_bytes()[16:]) != code:
        print("wrong:", file)
print(len(found))
"""
# Removes files and lets dpkg write again what it writes for others, such as caches of fonts
# (https://manpages.debian.org/deb-triggers).
AGAIN = """
rm -f -- "$@"
sed 's/ .*//' /var/lib/dpkg/triggers/File | sort -u \\
    | xargs -r -n 1 dpkg-trigger --by-package=dpkg --no-await
dpkg --configure --pending >&2
sha256sum -- "$@"
"""


def test_system_files(contents, image, docker_run, seen):
    """Outside /app each file is as its apt package has it, or as a package's script writes it."""
    rules = system.System(contents, image.project)
    new = list(rules.new())
    wrong = {path: says for path in new if (says := rules.wrong(path))}
    strange = [f"/{path}" for path, says in wrong.items() if says.startswith("no apt")][:5000]
    if strange:
        options = ("--user=0:0", "--network=none")
        done = docker_run(image, "sh", "-c", AGAIN, "sh", *strange, options=options)
        for digest, path in re.findall(r"^(\w{64})  /(.+)$", done.stdout, re.MULTILINE):
            if digest == contents.files[path].sha256:
                del wrong[path]
    assert not wrong, f"{'; '.join([*wrong.values()][:50])}; a file of your own: {system.LIST}"
    seen(f"{len(new)} files, {sum(system.merged(path) in rules.md5 for path in new)} with a hash")


def test_nothing_gone(contents, seen):
    """Nothing of the base image is missing, but what apt replaced by a package's later version."""
    here, before = (system.owned(files) for files in (contents.files, contents.base_files))
    wrong = []
    for path in sorted(contents.base_files.keys() - contents.files.keys()):
        name = system.merged(path)
        if re.fullmatch(system.BYTECODE, path):  # it goes with its source
            name = re.sub(r"__pycache__/([^/]+)\.cpython-3\d+\.pyc$", r"\1.py", name)
        # test_certificates looks at all of them.
        if not path.startswith((f"{system.DPKG}/info/", "etc/ssl/certs/")):
            wrong += [path] if name in here or name not in before else []
    assert not wrong, f"missing: {wrong[:5]}"
    seen(f"{len(contents.base_files)} files")


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
    targets = {path: entry.target.lstrip("/") for path, entry in links.items()}
    strange = [p for p, t in targets.items() if not {t, f"etc/ssl/certs/{t}"} & {*sources, *links}]
    assert not strange, f"no package's certificate: {strange[:5]}"
    seen(f"{here.total()} certificates")


def test_linker_cache(image, contents, docker_run, seen):
    """ld.so.cache is what ldconfig makes of the libraries that are there."""
    script = "ldconfig -X -C /tmp/cache && sha256sum /tmp/cache"
    done = docker_run(image, "sh", "-c", script, options=("--user=0:0", "--network=none"))
    assert done.returncode == 0, done.stderr
    made = done.stdout.split()[0]
    assert made == contents.files["etc/ld.so.cache"].sha256, "ldconfig makes another one"
    seen(f"{contents.files['etc/ld.so.cache'].size} bytes")


def test_system_bytecode(image, contents, docker_run, seen):
    """The bytecode of the system's Python is that of its sources."""
    pythons = [path for path in contents.files if re.fullmatch(r"usr/bin/python3\.\d+", path)]
    count = 0
    for python in pythons:
        done = docker_run(image, f"/{python}", "-c", BYTECODE, options=("--network=none",))
        assert done.returncode == 0, done.stderr
        *wrong, found = done.stdout.splitlines()
        assert not wrong, f"not its source's: {wrong[:5]}"
        count += int(found)
    assert count == sum(bool(re.fullmatch(system.BYTECODE, path)) for path in contents.files)
    seen(f"{count} files")
