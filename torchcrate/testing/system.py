"""What a file outside /app must be: as apt's package has it, or as a package's script writes it."""

import fnmatch
import hashlib
import posixpath
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from torchcrate.testing.layers import Contents, Entry

DIVERTED = {(f"/usr/bin/{n}", f"/usr/bin/{n}.distrib", ":") for n in ("python", "python3")}
MIRROR = re.compile(r"https?://\S+?/(ubuntu(-ports)?|debian(-security)?)/?(?=\s|$)", re.M)
PINNED = "Package: *python3.11*\nPin: release o=Ubuntu\nPin-Priority: -1\n"
DPKG = "var/lib/dpkg"
BYTECODE = r"usr/lib/python3[^/]*/(.+/)?__pycache__/[^/]+\.cpython-3\d+\.pyc"
# A project's list of what its Dockerfile adds: instructions, and patterns of paths.
LIST = "tests/image/configuration.txt"


def listed(project: Path) -> list[str]:
    """Return the lines of a project's list, without comments."""
    file = project / LIST
    lines = file.read_text().splitlines() if file.is_file() else []
    return [line for line in map(str.strip, lines) if line and not line.startswith("#")]


def merged(path: str) -> str:
    """Return where a path really is: /lib, for example, is a link to /usr/lib."""
    return re.sub(r"^(bin|sbin|lib|lib32|lib64)/", r"usr/\1/", path.lstrip("/"))


def owned(files: dict[str, Entry]) -> dict[str, str]:
    """Return {path: the package's name in DPKG/info} of all that apt's packages list."""
    return {
        merged(line): posixpath.basename(path).removesuffix(".list")
        for path, entry in files.items()
        if re.fullmatch(rf"{DPKG}/info/[^/]+\.list", path)
        for line in entry.text.splitlines()
    }


def versions(files: dict[str, Entry]) -> dict[str, str]:
    """Return {package: version} of dpkg's database."""
    blocks = files[f"{DPKG}/status"].text.split("\n\n")
    found = (dict(re.findall(r"^(Package|Version): (\S+)$", block, re.M)) for block in blocks)
    return {fields["Package"]: fields.get("Version", "") for fields in found if fields}


def what(entry: Entry) -> object:
    """Return what an entry is, without its owner, mode and time, which other tests look at."""
    return entry.sha256 or (entry.type, entry.target)


def target(path: str, entry: Entry) -> str:
    """Return the path that a link leads to, without the leading slash."""
    return merged(posixpath.normpath(posixpath.join("/", posixpath.dirname(path), entry.target)))


def rule_of(path: str) -> object:
    """Return what to do with a file that no package has, or None."""
    return next((rule for pattern, rule in RULES.items() if re.fullmatch(pattern, path)), None)


class System:
    """The files outside /app, and the rules for those that no package of apt has.

    A rule gets a file's path and entry, and returns whether the file is right.
    """

    def __init__(self, contents: Contents, project: Path) -> None:
        """Take the files of an image and of its base image."""
        self.files, self.base, self.project = contents.files, contents.base_files, project
        self.packages, self.before = versions(self.files), versions(self.base)
        status = self.files[f"{DPKG}/status"].text
        conffiles = re.findall(r"^ /(\S+) ([0-9a-f]{32})(?: obsolete)?$", status, re.MULTILINE)
        self.md5 = {merged(name): md5 for name, md5 in conffiles}  # of apt's packages
        self.owned = owned(self.files)
        self.listed = [line for line in listed(project) if line.startswith("/")]
        for path, entry in self.files.items():
            if re.fullmatch(rf"{DPKG}/info/[^/]+\.md5sums", path):
                sums = re.findall(r"(\w{32})  (.+)", entry.text)
                self.md5 |= {merged(name): md5 for md5, name in sums}

    def new(self) -> Iterator[str]:
        """Yield the paths of files outside /app that are not as in the base image."""
        for path, entry in self.files.items():
            if not path.startswith("app/") and not entry.is_folder:
                old = self.base.get(path)
                if not old or old != entry:
                    yield path

    def wrong(self, path: str) -> str:
        """Return what is wrong with a file, or nothing."""
        entry, old = self.files[path], self.base.get(path)
        if old and what(old) == what(entry):
            return ""
        if any(fnmatch.fnmatchcase(f"/{path}", pattern) for pattern in self.listed):
            return ""
        rule = rule_of(path)
        if merged(path) in self.owned and rule != System.python:
            return "" if self.packaged(path, entry) else f"/{path} is not as apt's package has it"
        if not rule:
            return "" if self.managed(path, entry) else f"no apt package has /{path}"
        right = rule == "test_certificates" or entry.is_link == (rule in LINKS)
        if right and not isinstance(rule, str):
            right = rule(self, path, entry)
        return "" if right else f"/{path} is not as apt's scripts write it"

    def packaged(self, path: str, entry: Entry) -> bool:
        """Whether it is as its package has it. dpkg keeps hashes of files, and none of links."""
        name = merged(path)
        if name in self.md5 or not entry.is_link:
            return bool(entry.sha256) and entry.md5 == self.md5.get(name)
        if self.managed(path, entry):
            return True
        package = self.owned[name].partition(":")[0]
        replaced = self.before.get(package) != self.packages[package]
        known = self.link_to_owned(path, entry) or rule_of(target(path, entry))
        return bool(known) and (replaced or path not in self.base)

    def empty(self, path: str, entry: Entry) -> bool:
        """Whether it is a file with nothing in it."""
        return bool(entry.sha256) and entry.size == 0

    def copy_of_ours(self, path: str, entry: Entry) -> bool:
        """Whether it is this repository's file."""
        source = {"doctor": "doctor.py", "deadsnakes.asc": "stages/base/deadsnakes.asc"}
        file = self.project / "torchcrate" / source[posixpath.basename(path)]
        return entry.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()

    def text(self, path: str, entry: Entry) -> bool:
        """Whether it has the one text that it can have."""
        zone = self.files.get("etc/localtime")
        right = {
            "etc/profile.d/venv.sh": "PATH=/app/.venv/bin:$PATH\n",
            "etc/apt/preferences.d/deadsnakes": PINNED,
            "etc/timezone": f"{zone.target.partition('zoneinfo/')[2]}\n" if zone else "",
        }
        return entry.text == right[path]

    def inputrc(self, path: str, entry: Entry) -> bool:
        """Whether it is readline-common's file."""
        return entry.md5 == self.md5["usr/share/readline/inputrc"]

    def link_to_owned(self, path: str, entry: Entry) -> bool:
        """Whether it links to a file that a package has."""
        where = {"etc/rc": "etc/init.d/", "etc/localtime": "usr/share/zoneinfo/"}
        below = next((to for start, to in where.items() if path.startswith(start)), "")
        found = target(path, entry)
        return found.startswith(below) and found in (self.owned | {"dev/null": ""})

    def python(self, path: str, entry: Entry) -> bool:
        """Whether it links to Python 3.11, or is the link of a package python3 that made room."""
        wanted = r"python3(\.\d+)?" if path.endswith(".distrib") else r"python3\.11"
        return bool(re.fullmatch(wanted, entry.target))

    def ppa(self, path: str, entry: Entry) -> bool:
        """Whether it names one repository, and the PPA's key."""
        keyring = "Signed-By: /etc/apt/keyrings/deadsnakes.asc"
        fields = f"Types: deb URIs: \\S+ Suites: \\S+ Components: main {keyring}"
        return bool(re.fullmatch(fields.replace(" ", r"\s"), entry.text.strip()))

    def mirror(self, path: str, entry: Entry) -> bool:
        """Whether it differs from the base image's in the mirrors' names alone."""
        old = self.base[path].text if path in self.base else ""
        return MIRROR.sub(r"\1", entry.text) == MIRROR.sub(r"\1", old)

    def control(self, path: str, entry: Entry) -> bool:
        """Whether it is of an installed package."""
        return re.sub(r"(:\w+)?\.\w+$", "", posixpath.basename(path)) in self.packages

    def has_hashes(self, path: str, entry: Entry) -> bool:
        """Whether the package has a hash for each file that it lists."""
        names = [merged(line) for line in entry.text.splitlines()]
        return all(n in self.md5 for n in names if n in self.files and self.files[n].md5)

    def status(self, path: str, entry: Entry) -> bool:
        """Whether each package has a list of its files."""
        here = {re.sub(r"(:\w+)?\.list$", "", name) for name in self.files if DPKG in name}
        return {f"{DPKG}/info/{name}" for name in self.packages} <= here

    def diversions(self, path: str, entry: Entry) -> bool:
        """Whether python and python3 make room, and else what installed packages say."""
        old = self.base[path].text if path in self.base else ""
        here, old = entry.text.splitlines(), old.splitlines()
        here, old = (zip(x[::3], x[1::3], x[2::3], strict=True) for x in (here, old))
        here, old = ({d for d in x if d[2] not in self.packages} for x in (here, old))
        return here == old | DIVERTED

    def triggers(self, path: str, entry: Entry) -> bool:
        """Whether each line names an installed package."""
        names = re.findall(r"(?:^| )([\w.+-]+)(?:[:/]\w+)*$", entry.text, re.MULTILINE)
        return {*names} <= {*self.packages} and len(names) == len(entry.text.splitlines())

    def debconf(self, path: str, entry: Entry) -> bool:
        """Whether each question is an installed package's, and each template a question's."""
        owners = ", ".join(re.findall(r"^Owners: (.+)$", entry.text, re.MULTILINE)).split(", ")
        questions = self.files["var/cache/debconf/config.dat"].text
        known = {*self.packages, *re.findall(r"^Name: (.+)$", questions, re.MULTILINE)}
        known |= {*re.findall(r"[\w/.+-]+", self.base[path].text if path in self.base else "")}
        return {name.partition(":")[0] for name in owners} <= known

    def names_files(self, path: str, entry: Entry) -> bool:
        """Whether each line ends with the name of a file that is there."""
        names = [line.split()[-1] for line in entry.text.splitlines() if line.strip()]
        return all(merged(name) in self.files for name in names)

    @cached_property
    def alternatives(self) -> dict[str, tuple[str, str]]:
        """{name in /etc/alternatives: (its link, its target)} as update-alternatives sets them.

        It takes the best of what packages offer, or what the base image had chosen.
        """
        found = {}
        for path in [path for path in self.files if path.startswith(f"{DPKG}/alternatives/")]:
            head, _, rest = self.files[path].text.partition("\n\n")
            mode, link, *others = head.split("\n")
            names, links = [posixpath.basename(path), *others[::2]], [link, *others[1::2]]
            lines = iter(rest.split("\n"))
            choices = list(zip(*[lines] * (len(names) + 1), strict=False))
            choices = {choice[0]: choice[1:] for choice in choices if choice[0]}
            old = self.base[path].text if path in self.base else ""
            if not all(c in old.split("\n") or self.offers(c, names[0]) for c in choices):
                continue
            best = max(choices, key=lambda choice: int(choices[choice][0]), default="")
            if mode == "manual" and old.startswith("manual\n"):
                best = self.base[f"etc/alternatives/{names[0]}"].target
            if best in choices and mode in ("auto", old.partition("\n")[0]):
                targets = [best, *choices[best][1:]]
                found |= dict(zip(names, zip(links, targets, strict=True), strict=True))
        return found

    def offers(self, path: str, name: str) -> bool:
        """Whether the package of a file says that it is one of an alternative's choices."""
        script = self.files.get(f"{DPKG}/info/{self.owned.get(merged(path))}.postinst")
        helper = r"^\s*(\.|source) /usr/share/(?!debconf/)"  # which may do so for it
        return bool(script) and (name in script.text or bool(re.search(helper, script.text, re.M)))

    def choice(self, path: str, entry: Entry) -> bool:
        """Whether update-alternatives could choose like this."""
        return posixpath.basename(path) in self.alternatives

    def alternative(self, path: str, entry: Entry) -> bool:
        """Whether it is what update-alternatives chose."""
        return self.alternatives.get(posixpath.basename(path), ("", ""))[1] == entry.target

    def managed(self, path: str, entry: Entry) -> bool:
        """Whether it is a link that update-alternatives manages."""
        folder, name = posixpath.split(posixpath.normpath(entry.target))
        link, _ = self.alternatives.get(name, ("", ""))
        return folder == "/etc/alternatives" and merged(link) == merged(path)


# What to do with a file that no package has: a rule, or the test that looks at all of its kind.
RULES = {
    rf"{DPKG}/(lock.*|.+-old|available|triggers/(Lock|Unincorp))|var/lib/python/.+": System.empty,
    r"var/(log/.+|cache/(debconf/(pass.+|.+-old)|ldconfig/.+))": System.empty,
    r"var/cache/debconf/(config|templates)\.dat": System.debconf,
    rf"{DPKG}/status": System.status,
    rf"{DPKG}/diversions": System.diversions,
    rf"{DPKG}/triggers/[^/]+": System.triggers,
    rf"{DPKG}/info/[^/]+\.list": System.has_hashes,
    # dpkg keeps no hash of these. They run when a package changes, which none does in a container.
    rf"{DPKG}/info/[^/]+\.\w+": System.control,
    rf"{DPKG}/alternatives/[^/]+": System.choice,
    r"etc/alternatives/[^/]+": System.alternative,
    r"var/lib/(dpkg/statoverride|systemd/deb-.+|ucf/(hashfile|registry).*)": System.names_files,
    r"etc/(rc[S0-6]\.d|fonts/conf\.d|systemd/system)/.+|etc/localtime": System.link_to_owned,
    r"etc/(timezone|profile\.d/venv\.sh|apt/preferences\.d/deadsnakes)": System.text,
    r"etc/inputrc": System.inputrc,
    r"etc/ld\.so\.cache": "test_linker_cache",
    r"etc/ca-certificates\.conf|etc/ssl/certs/.+": "test_certificates",
    BYTECODE: "test_system_bytecode",
    r"usr/bin/python3?(\.distrib)?": System.python,
    r"etc/apt/keyrings/deadsnakes\.asc|usr/local/bin/doctor": System.copy_of_ours,
    r"etc/apt/sources\.list\.d/deadsnakes\.sources": System.ppa,
    r"etc/apt/sources\.list(\.d/[^/]+\.(list|sources))?": System.mirror,  # APT_MIRROR
}
# The rules for symbolic links. All others are for files.
LINKS = (System.alternative, System.link_to_owned, System.python)
