"""Every file in /app comes from the locks or from your code, and apt installed nothing else."""

import base64
import csv
import fnmatch
import hashlib
import itertools
import posixpath
import re
from collections import Counter

from torchcrate import build as build_script

SITE = "app/.venv/lib/python3.11/site-packages"
# Each later installation writes these again: a few kilobytes.
REWRITTEN = re.compile(r"var/(lib/dpkg|cache/(debconf|ldconfig)|log)/.+|etc/ld\.so\.cache")
# What `python -m venv` and the base stage put into an environment without packages.
EMPTY_VENV = re.compile(
    r"app/\.venv/(pyvenv\.cfg|lib64|bin/(activate(\.\w+)?|Activate\.ps1|python[\d.]*)"
    r"|lib/python3\.11/site-packages/app_src\.pth)"
)


def packages(status):
    """Return {name: names that it depends on} of dpkg's status file, and {name: its providers}.

    All alternatives of a dependency count.
    """
    found, providers = {}, {}
    for block in status.split("\n\n"):
        fields = dict(re.findall(r"^([\w-]+): (.*)$", block, re.MULTILINE))
        if fields.get("Status") == "install ok installed":
            needs = ",".join([fields.get("Depends", ""), fields.get("Pre-Depends", "")])
            found[fields["Package"]] = set(re.findall(r"(?:^|[,|])\s*([\w.+-]+)", needs))
            for provided in re.findall(r"(?:^|,)\s*([\w.+-]+)", fields.get("Provides", "")):
                providers.setdefault(provided, set()).add(fields["Package"])
    return found, providers


def installed(contents):
    """Return {distribution: [(path, hash in RECORD), …]}."""
    found = {}
    for path, entry in contents.files.items():
        match = re.fullmatch(rf"{re.escape(SITE)}/([^/]+)-[^/-]+\.dist-info/RECORD", path)
        if match:
            rows = csv.reader(entry.text.splitlines())
            found[match.group(1)] = [
                (posixpath.normpath(posixpath.join(SITE, row[0])), row[1]) for row in rows
            ]
    return found


def test_apt_packages(contents, image, seen):
    """apt installed Python 3.11, certificates, time zones, your list and what these need."""
    status = "var/lib/dpkg/status"
    here, providers = packages(contents.files[status].text)
    before, _ = packages(contents.base_files[status].text)
    listed = (image.project / "apt/runtime.txt").read_text()
    listed = re.sub(r"#.*|:\w+|=\S+|/\S+", "", listed).split()  # without architecture, version …
    listed = [alternatives.split("|") for alternatives in listed]
    queue, needed = ["python3.11", "ca-certificates", "tzdata", *itertools.chain(*listed)], set()
    while queue:
        name = queue.pop()
        if name not in needed:
            needed.add(name)
            queue += here.get(name, set()) | providers.get(name, set())
    added = here.keys() - before.keys()
    assert added <= needed, f"nothing needs {sorted(added - needed)}"
    absent = [names for names in listed if not here.keys() & set(names)]
    assert not absent, f"not there: {absent}"
    seen(f"{len(added)} packages")


def prunable(project):
    """Return the pattern of what stages/install/prune.txt lists, for paths in the image."""
    lines = (project / "torchcrate/stages/install/prune.txt").read_text().splitlines()
    listed = filter(None, (line.partition("#")[0].strip() for line in lines))
    return re.compile("|".join(fnmatch.translate(f"{SITE}/{pattern}") for pattern in listed))


def of_torch(contents, torch_lock):
    """Return the paths that the distributions of the torch lock have in their RECORDs."""
    return {
        path
        for name, rows in installed(contents).items()
        if re.sub(r"[-_.]+", "-", name).lower() in torch_lock
        for path, _ in rows
    }


def test_pruned_files(contents, image, torch_lock, seen):
    """The files in torchcrate/stages/install/prune.txt are absent, unless PRUNE=no keeps them."""
    pattern, files = prunable(image.project), contents.files
    listed = {path for path in of_torch(contents, torch_lock) if pattern.match(path)}
    there = sorted(listed & files.keys())
    if image.build_arg("PRUNE") == "yes":
        assert not there, f"not pruned: {there[:5]}"
    else:
        assert len(there) == len(listed), f"pruned: {sorted(listed - files.keys())[:5]}"
    seen(f"{len(listed)} files, {'kept' if there else 'left out'}")


def test_records(contents, image, torch_lock, seen):
    """Every file of a package has the hash in its RECORD, except bytecode and pruned files."""
    # Bytecode in a wheel (NumPy had some) is left out or compiled again: see test_bytecode.
    files, wrong, count = contents.files, [], 0
    pattern = prunable(image.project)
    pruned = {path for path in of_torch(contents, torch_lock) if pattern.match(path)}
    for rows in installed(contents).values():
        for path, digest in rows:
            if digest and "/__pycache__/" not in path and (path in files or path not in pruned):
                count += 1
                algorithm, _, value = digest.partition("=")
                assert algorithm == "sha256"
                expected = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()
                if path not in files or files[path].sha256 != expected:
                    wrong.append(path)
    assert not wrong, f"not as in RECORD: {wrong[:5]}"
    assert count
    seen(f"{count} files")


def test_venv_files(contents, seen):
    """Each file in /app/.venv is in a RECORD, is bytecode of such a file, or is from venv."""
    recorded = {path for rows in installed(contents).values() for path, _ in rows}
    files = contents.files
    venv = [p for p, e in files.items() if p.startswith("app/.venv/") and not e.is_folder]
    strange = []
    for path in venv:
        source = re.sub(r"__pycache__/([^/]+)\.cpython-311\.pyc$", r"\1.py", path)
        if path not in recorded and source not in recorded and not EMPTY_VENV.fullmatch(path):
            strange.append(path)
    assert not strange, f"in no RECORD: {strange[:5]}"
    seen(f"{len(venv)} files")


def test_code_files(contents, image, seen):
    """/app/src has the project's code, file by file, and nothing else."""
    files = contents.files
    app = {p: e for p, e in files.items() if p.startswith("app/") and not e.is_folder}
    found = {p: e.sha256 for p, e in app.items() if not p.startswith("app/.venv/")}
    code, expected = build_script.code(image.project), {}
    for name, target in code.items():
        source = image.project / name
        for file in source.rglob("*") if source.is_dir() else [source]:
            ignored = "__pycache__" in file.parts or file.name.startswith((".env", ".netrc"))
            if file.is_file() and not ignored:
                path = posixpath.join(target, file.relative_to(source)).rstrip("/.").lstrip("/")
                expected[path] = hashlib.sha256(file.read_bytes()).hexdigest()
    different = {p for p in found.keys() | expected.keys() if found.get(p) != expected.get(p)}
    assert not different, f"not as in {', '.join(code)}: {sorted(different)[:5]}"
    assert expected
    seen(f"{len(found)} files")


def test_written_once(contents, seen):
    """No file is in two layers, or deleted in a later layer."""
    above: set[str] = set()
    twice: list[str] = []
    small = re.compile(f"{EMPTY_VENV.pattern}|{REWRITTEN.pattern}")
    for layer in contents.layers[contents.own :]:
        for path, entry in layer.entries.items():
            folder, name = posixpath.split(path)
            if name == ".wh..wh..opq":
                twice += [f"{p} (deleted)" for p in above if p.startswith(f"{folder}/")]
            elif name.startswith(".wh."):
                gone = posixpath.join(folder, name[4:])
                twice += [f"{p} (deleted)" for p in above if p == gone or p.startswith(f"{gone}/")]
            # Torch's layer and those above each have venv's own files, a few kilobytes.
            elif not entry.is_folder and path in above and not small.fullmatch(path):
                twice.append(path)
        above |= {path for path, entry in layer.entries.items() if not entry.is_folder}
    assert not twice, f"{len(twice)} files are in more than one layer: {twice[:5]}"
    seen(f"{len(above)} files, each in one layer")


def test_torch_layer(contents, torch_lock, seen):
    """Torch's layer has the torch lock's packages. The layers above have all others."""
    trees = [
        {
            re.sub(r"[-_.]+", "-", match.group(1)).lower()
            for path in layer.entries
            if (match := re.fullmatch(rf"{re.escape(SITE)}/(.+)-[^-]+\.dist-info/RECORD", path))
        }
        for layer in contents.layers[contents.own :]
    ]
    torch, *above = [tree for tree in trees if tree]
    assert torch == torch_lock.keys(), f"not only torch's: {sorted(torch ^ torch_lock.keys())}"
    both = [tree & other for tree, other in itertools.combinations([torch, *above], 2)]
    assert not any(both), f"in two layers: {both}"
    seen(f"{len(torch)} below, {' and '.join(str(len(tree)) for tree in above)} above")


def test_one_layer_each(contents, seen):
    """Each package is in one layer, with its bytecode, so that an edit changes one layer."""
    layer_of = {
        path: number
        for number, layer in enumerate(contents.layers)
        for path, entry in layer.entries.items()
        if not entry.is_folder
    }
    packages = installed(contents)
    owners = Counter(path for rows in packages.values() for path, _ in rows)
    divided = {}
    for name, rows in packages.items():
        own = {path for path, _ in rows if owners[path] == 1}
        own |= {
            f"{folder}/__pycache__/{module[:-3]}.cpython-311.pyc"
            for folder, module in map(posixpath.split, own)
            if module.endswith(".py")
        }
        found = {layer_of[path] for path in own & layer_of.keys()}
        if len(found) != 1:
            divided[name] = sorted(found)
    assert not divided, f"in several layers: {divided}"
    seen(
        f"{len(packages)} packages in {len({layer_of[p] for p in owners if p in layer_of})} layers"
    )


def test_bytecode(contents, seen):
    """Packages have bytecode, checked by the source's hash. Their tests have none."""
    files = contents.files
    compiled = {p: e for p, e in files.items() if p.startswith(SITE) and p.endswith(".pyc")}
    # https://peps.python.org/pep-0552/: flags 0b11 mean that the source's hash is checked.
    timed = [p for p, e in compiled.items() if e.head[4:8] != b"\x03\x00\x00\x00"]
    assert not timed, f"not checked by hash: {timed[:5]}"
    assert f"{SITE}/torch/__pycache__/__init__.cpython-311.pyc" in compiled, "torch is not compiled"
    tests = [path for path in compiled if re.search(r"/tests/(.+/)?test_[^/]*$", path)]
    assert not tests, f"bytecode of packages' tests: {tests[:5]}"
    seen(f"{len(compiled)} files")


def test_times(contents, seen):
    """Packages and code have one fixed time, so that the same files make the same layer."""
    found = {
        entry.mtime
        for layer in contents.layers[contents.own :]
        for path, entry in layer.entries.items()
        if path.startswith(("app/.venv", "app/src"))
    }
    assert found == {315532800}, f"{len(found)} different times"  # 1980-01-01
    seen("1980-01-01")
