"""`python` and `python3` are a final release of Python 3.11, for every user."""

import pytest

NAMES = ("python", "python3", "python3.11")
FACTS = (
    "import platform, sys; "
    "print(platform.python_version(), sys.version_info.releaselevel, sys.prefix, sys.base_prefix)"
)
USERS = pytest.mark.parametrize(
    "user", [None, "root", "12345:12345"], ids=["own user", "root", "any uid"]
)


def ask(host, names, before=""):
    """Return {name: what Python prints about itself}."""
    asked = "; ".join(f"{before} {name} -c '{FACTS}' || echo no {name}" for name in names)
    return dict(zip(names, host.run(asked).stdout.splitlines(), strict=True))


def same(found, prefix):
    """Check that all names are one final Python 3.11, and return its version."""
    one = found[next(iter(found))]
    assert set(found.values()) == {one}, f"not one Python but {found}"
    version, level, *prefixes = one.split()
    assert version.startswith("3.11."), one
    assert (level, prefixes) == ("final", [prefix, "/usr"]), one
    return version


@USERS
def test_by_name(inside, user, seen):
    """`docker exec` finds one final Python 3.11 as `python`, `python3` and `python3.11`."""
    seen(same(ask(inside(user), NAMES), "/app/.venv"))


def test_container_command(image, docker_run, seen):
    """`docker run IMAGE python` starts the same Python."""
    done = docker_run(image, "python", "-c", FACTS)
    assert done.returncode == 0, done.stderr
    seen(same({"python": done.stdout.strip()}, "/app/.venv"))


@USERS
def test_login_shell(inside, user, seen):
    """A login shell, which sets its own PATH, finds the venv's Python."""
    found = inside(user).run(f"bash -lc 'command -v {' '.join(NAMES)}'").stdout.split()
    assert found == [f"/app/.venv/bin/{name}" for name in NAMES], f"a login shell finds {found}"
    seen(found[0])


def test_empty_environment(host, seen):
    """With an empty environment, `python`, `python3` and /usr/bin/python3 are 3.11."""
    names = (*NAMES, *(f"/usr/bin/{name}" for name in NAMES))
    seen(f"{same(ask(host, names, 'env -i'), '/usr')} in /usr/bin")


def test_venv_first(host, seen):
    """The venv's Python is first on PATH, and the same file in every stage."""
    path, target, home = host.check_output(
        "echo $PATH; readlink -e /app/.venv/bin/python; grep ^home /app/.venv/pyvenv.cfg"
    ).splitlines()
    assert path.startswith("/app/.venv/bin:"), f"PATH is {path}"
    assert (target, home) == ("/usr/bin/python3.11", "home = /usr/bin")
    seen(f"/app/.venv/bin/python is {target}")


def test_later_python3(inside, seen):
    """If apt installs another `python3` later, 3.11 stays the default."""
    diverted = inside("root").check_output("dpkg-divert --list '/usr/bin/python*'")
    for name in ("python", "python3"):
        assert f"local diversion of /usr/bin/{name} to /usr/bin/{name}.distrib" in diverted
    seen("diverted to python3.distrib")
