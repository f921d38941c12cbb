"""Outside /app each file is as its apt package has it, or what the packages' own scripts write."""

import hashlib
import posixpath
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
DIVERTED = {(f"/usr/bin/{n}", f"/usr/bin/{n}.distrib", ":") for n in ("python", "python3")}
MIRROR = re.compile(r"https?://\S+?/(ubuntu(-ports)?|debian(-security)?)/?(?=\s|$)", re.M)
PINNED = "Package: *python3.11*\nPin: release o=Ubuntu\nPin-Priority: -1\n"
DPKG = "var/lib/dpkg"


def merged(path):
    """Return where a path really is: /lib, for example, is a link to /usr/lib."""
    return re.sub(r"^(bin|sbin|lib|lib32|lib64)/", r"usr/\1/", path)


def owned(files):
    """Return {path: the package's name in DPKG/info} of all that apt's packages list."""
    return {
        merged(line.lstrip("/")): posixpath.basename(path).removesuffix(".list")
        for path, entry in files.items()
        if re.fullmatch(rf"{DPKG}/info/[^/]+\.list", path)
        for line in entry.text.splitlines()
    }


class System:
    """The files outside /app, and the rules for those that no package of apt has.

    A rule gets a file's path and entry, and returns whether the file is right.
    """

    def __init__(self, contents, image):
        """Take the files of an image and of its base image."""
        self.files, self.base, self.project = contents.files, contents.base_files, image.project
        status = self.files[f"{DPKG}/status"].text
        self.packages = set(re.findall(r"^Package: (\S+)$", status, re.MULTILINE))
        conffiles = re.findall(r"^ /(\S+) ([0-9a-f]{32})(?: obsolete)?$", status, re.MULTILINE)
        self.md5 = {merged(name): md5 for name, md5 in conffiles}  # of apt's packages
        self.owned = owned(self.files)
        for path, entry in self.files.items():
            if re.fullmatch(rf"{DPKG}/info/[^/]+\.md5sums", path):
                sums = re.findall(r"(\w{32})  (.+)", entry.text)
                self.md5 |= {merged(name): md5 for md5, name in sums}

    def empty(self, path, entry):
        """Whether nothing is in it."""
        return entry.size == 0

    def earlier(self, path, entry):
        """Whether it has nothing that the file without -old lacks."""
        later = self.files[path.removesuffix("-old")].text.splitlines()
        return not entry.size or (entry.text and {*entry.text.splitlines()} <= {*later})

    def copy_of_ours(self, path, entry):
        """Whether it is this repository's file."""
        source = {"doctor": "doctor.py", "deadsnakes.asc": "stages/base/deadsnakes.asc"}
        file = self.project / "torchcrate" / source[posixpath.basename(path)]
        return entry.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()

    def text(self, path, entry):
        """Whether it has the one text that it can have."""
        zone = self.files.get("etc/localtime")
        right = {
            "etc/profile.d/venv.sh": "PATH=/app/.venv/bin:$PATH\n",
            "etc/apt/preferences.d/deadsnakes": PINNED,
            "etc/timezone": f"{zone.target.partition('zoneinfo/')[2]}\n" if zone else "",
        }
        return entry.text == right[path]

    def inputrc(self, path, entry):
        """Whether it is readline-common's file."""
        return entry.md5 == self.md5["usr/share/readline/inputrc"]

    def link_to_owned(self, path, entry):
        """Whether it links to a file that a package has."""
        target = posixpath.normpath(posixpath.join("/", posixpath.dirname(path), entry.target))
        return merged(target.lstrip("/")) in self.owned

    def python(self, path, entry):
        """Whether it links to Python 3.11, or is the link of a package python3 that made room."""
        return re.fullmatch(r"python3\.\d+" if ".d" in path else r"python3\.11", entry.target)

    def ppa(self, path, entry):
        """Whether it names one repository, and the PPA's key."""
        keyring = "Signed-By: /etc/apt/keyrings/deadsnakes.asc"
        fields = f"Types: deb URIs: \\S+ Suites: \\S+ Components: main {keyring}"
        return re.fullmatch(fields.replace(" ", r"\s"), entry.text.strip())

    def mirror(self, path, entry):
        """Whether it differs from the base image's in the mirrors' names alone."""
        before = self.base[path].text if path in self.base else ""
        return MIRROR.sub(r"\1", entry.text) == MIRROR.sub(r"\1", before)

    def mailcap(self, path, entry):
        """Whether each line starts a program that is there."""
        programs = re.findall(r"^[^#;]+;\s*([^\s;]+)", entry.text, re.MULTILINE)
        paths = [p.lstrip("/") if "/" in p else f"usr/bin/{p}" for p in programs]
        return all(merged(path) in self.files for path in paths)

    def control(self, path, entry):
        """Whether it is of an installed package."""
        return re.sub(r"(:\w+)?\.\w+$", "", posixpath.basename(path)) in self.packages

    def listed(self, path, entry):
        """Whether the package has a hash for each file that it lists."""
        names = [merged(line.lstrip("/")) for line in entry.text.splitlines()]
        return all(n in self.md5 for n in names if n in self.files and self.files[n].md5)

    def status(self, path, entry):
        """Whether each package has a list of its files."""
        here = {re.sub(r"(:\w+)?\.list$", "", name) for name in self.files if DPKG in name}
        return {f"{DPKG}/info/{name}" for name in self.packages} <= here

    def diversions(self, path, entry):
        """Whether python and python3 make room, and else what installed packages say."""
        before = self.base[path].text if path in self.base else ""
        here, before = entry.text.splitlines(), before.splitlines()
        here, before = (zip(x[::3], x[1::3], x[2::3], strict=True) for x in (here, before))
        here, before = ({d for d in x if d[2] not in self.packages} for x in (here, before))
        return here == before | DIVERTED

    def triggers(self, path, entry):
        """Whether each line names an installed package."""
        names = re.findall(r"(?:^| )([\w.+-]+)(?:[:/]\w+)*$", entry.text, re.MULTILINE)
        return {*names} <= self.packages and len(names) == len(entry.text.splitlines())

    def debconf(self, path, entry):
        """Whether each question is an installed package's, and each template a question's."""
        owners = ", ".join(re.findall(r"^Owners: (.+)$", entry.text, re.MULTILINE)).split(", ")
        questions = self.files["var/cache/debconf/config.dat"].text
        known = {*self.packages, *re.findall(r"^Name: (.+)$", questions, re.MULTILINE)}
        before = self.base[path].text if path in self.base else ""
        known |= {*re.findall(r"[\w/.+-]+", before)}
        return {name.partition(":")[0] for name in owners} <= known

    def names_files(self, path, entry):
        """Whether each line ends with the name of a file that is there."""
        names = [line.split()[-1] for line in entry.text.splitlines()]
        return all(merged(name.lstrip("/")) in self.files for name in names)

    def alternative(self, path, entry):
        """Whether it is the best of what packages offer, in the format of update-alternatives."""
        for name in [name for name in self.files if name.startswith(f"{DPKG}/alternatives/")]:
            head, _, rest = self.files[name].text.partition("\n\n")
            mode, _, *others = head.split("\n")
            size = 2 + len(others) // 2
            lines = iter(rest.split("\n"))
            choices = [choice for choice in zip(*[lines] * size, strict=False) if choice[0]]
            best = max(choices, key=lambda choice: int(choice[1]))
            names = [posixpath.basename(name), *others[::2]]
            links = dict(zip(names, [best[0], *best[2:]], strict=True))
            owner = self.owned.get(merged(best[0].lstrip("/")))
            script = self.files.get(f"{DPKG}/info/{owner}.postinst")
            right = mode == "auto" and script and "update-alternatives" in script.text
            if name == path or links.get(posixpath.basename(path)) == entry.target:
                return right
        return False


# What to do with a file that no package has: a rule, or the test that looks at all of its kind.
RULES = {
    r"var/(lib/dpkg|cache/debconf)/[^/]+-old": System.earlier,
    rf"{DPKG}/(lock.*|available|triggers/(Lock|Unincorp))|var/lib/python/.+": System.empty,
    r"var/(log/(apt/.+|(dpkg|alternatives)\.log)|cache/(debconf/pass.+|ldconfig/.+))": System.empty,
    r"var/cache/debconf/(config|templates)\.dat": System.debconf,
    rf"{DPKG}/status": System.status,
    rf"{DPKG}/diversions": System.diversions,
    rf"{DPKG}/triggers/[^/]+": System.triggers,
    rf"{DPKG}/info/[^/]+\.list": System.listed,
    # dpkg keeps no hash of these. They run when a package changes, which none does in a container.
    rf"{DPKG}/info/[^/]+\.\w+": System.control,
    rf"({DPKG}|etc)/alternatives/.+": System.alternative,
    r"var/lib/(dpkg/statoverride|systemd/deb-.+|ucf/(hashfile|registry).*)": System.names_files,
    r"etc/rc[S0-6]\.d/.+|etc/localtime": System.link_to_owned,
    r"etc/(timezone|profile\.d/venv\.sh|apt/preferences\.d/deadsnakes)": System.text,
    r"etc/inputrc": System.inputrc,
    r"etc/mailcap": System.mailcap,
    r"etc/ld\.so\.cache": "test_linker_cache",
    r"etc/ca-certificates\.conf|etc/ssl/certs/.+": "test_certificates",
    r"usr/lib/python3[^/]*/(.+/)?__pycache__/[^/]+\.cpython-311\.pyc": "test_system_bytecode",
    r"usr/bin/python3?(\.distrib)?": System.python,
    r"etc/apt/keyrings/deadsnakes\.asc|usr/local/bin/doctor": System.copy_of_ours,
    r"etc/apt/sources\.list\.d/deadsnakes\.sources": System.ppa,
    r"etc/apt/sources\.list(\.d/[^/]+\.(list|sources))?": System.mirror,  # APT_MIRROR
}


def test_system_files(contents, image, seen):
    """Outside /app each file is as its apt package has it, or as a package's script writes it."""
    system, files, base = System(contents, image), contents.files, contents.base_files
    outside = [
        path
        for path, entry in files.items()
        if not path.startswith("app/") and not entry.is_folder and base.get(path) != entry
    ]
    wrong = []
    for path in outside:
        entry, name, before = files[path], merged(path), base.get(path)
        if name in system.owned or entry.target.startswith("/etc/alternatives/"):
            if entry.md5 and entry.md5 != system.md5.get(name, entry.md5):
                wrong.append(f"/{path} is not as apt's package has it")
        elif not before or (before.sha256, before.target) != (entry.sha256, entry.target):
            rules = [rule for pattern, rule in RULES.items() if re.fullmatch(pattern, path)]
            if not rules:
                wrong.append(f"no apt package has /{path}")
            elif not isinstance(rules[0], str) and not rules[0](system, path, entry):
                wrong.append(f"/{path} is not as apt's scripts write it")
    assert not wrong, "; ".join(wrong[:50])
    seen(f"{len(outside)} files, {sum(merged(path) in system.md5 for path in outside)} with a hash")


def test_nothing_gone(contents, seen):
    """Nothing of the base image is missing, but what apt replaced by a package's later version."""
    here, before = (owned(files) for files in (contents.files, contents.base_files))
    gone = sorted(contents.base_files.keys() - contents.files.keys())
    gone = [path for path in gone if merged(path) in here or merged(path) not in before]
    gone = [path for path in gone if not path.startswith(f"{DPKG}/info/")]
    assert not gone, f"missing: {gone[:5]}"
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


def test_system_bytecode(image, docker_run, seen):
    """The bytecode of the system's Python is that of its sources."""
    done = docker_run(image, "python3.11", "-c", BYTECODE, options=("--network=none",))
    assert done.returncode == 0, done.stderr
    *wrong, count = done.stdout.splitlines()
    assert not wrong, f"not its source's: {wrong[:5]}"
    seen(f"{count} files")
