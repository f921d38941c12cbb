"""The parts of Python that depend on the system's libraries work."""

import json

WORKS = """
import json
WORKS = {
    "ssl": "import ssl; ssl.create_default_context().get_ca_certs()[0]; it = ssl.OPENSSL_VERSION",
    "sqlite3": "import sqlite3 as s; it = s.connect(':memory:').execute('select 7').fetchone()",
    "lzma": "import lzma; it = lzma.decompress(lzma.compress(b'whole')).decode()",
    "bz2": "import bz2; it = bz2.decompress(bz2.compress(b'whole')).decode()",
    "zlib": "import zlib; it = zlib.decompress(zlib.compress(b'whole')).decode()",
    "ctypes": "import ctypes; it = ctypes.CDLL(None).abs(-7)",
    "zoneinfo": "import zoneinfo; it = zoneinfo.ZoneInfo('Europe/Berlin').key",
    "hashlib": "import hashlib; it = hashlib.new('sha256', b'whole').hexdigest()[:8]",
    "uuid": "import uuid; it = uuid.uuid1().version",
    "multiprocessing": "import multiprocessing as m; p = m.Pool(); it = p.map(int, '7'); p.close()",
}
found = {}
for module, code in WORKS.items():
    names = {}
    try:
        exec(code, names)
        found[module] = [True, str(names["it"])]
    except Exception as error:
        found[module] = [False, repr(error)]
print(json.dumps(found))
"""


def test_standard_library(host, seen):
    """The standard library is complete: compression, TLS, SQLite, time zones, processes."""
    done = host.run("python -c %s", WORKS)
    assert done.rc == 0, done.stderr
    found = json.loads(done.stdout)
    broken = {module: what for module, (works, what) in found.items() if not works}
    assert not broken, f"broken: {broken}"
    seen(", ".join(f"{module} {what}" for module, (_, what) in found.items()))


def test_utf8(host, seen):
    """Text is UTF-8, in Python and in other programs."""
    code = "import locale, sys; print(locale.getpreferredencoding(), sys.stdout.encoding)"
    python, letters = host.check_output("python -c %s; printf %s | wc -m", code, "äöü").splitlines()
    assert python.lower() == "utf-8 utf-8", f"Python writes {python}"
    assert letters == "3", f"other programs read {letters} letters in äöü"
    seen(python)
