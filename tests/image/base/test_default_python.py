"""Python 3.11, the final one, is what `python` and `python3` are, for everybody."""

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
    """Return what Python says of itself under each name."""
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
    """`python`, `python3` and `python3.11` are one final Python 3.11, through `docker exec`."""
    seen(same(ask(inside(user), NAMES), "/app/.venv"))


def test_as_the_containers_command(image, docker_run, seen):
    """`docker run IMAGE python` starts it too."""
    done = docker_run(image, "python", "-c", FACTS)
    assert done.returncode == 0, done.stderr
    seen(same({"python": done.stdout.strip()}, "/app/.venv"))


@USERS
def test_in_a_login_shell(inside, user, seen):
    """A login shell, which sets a PATH of its own, finds the environment's Python."""
    found = inside(user).run(f"bash -lc 'command -v {' '.join(NAMES)}'").stdout.split()
    assert found == [f"/app/.venv/bin/{name}" for name in NAMES], f"a login shell finds {found}"
    seen(found[0])


def test_with_an_empty_environment(host, seen):
    """Without any environment `python` and `python3` are 3.11, and so is /usr/bin/python3."""
    names = (*NAMES, *(f"/usr/bin/{name}" for name in NAMES))
    seen(f"{same(ask(host, names, 'env -i'), '/usr')} in /usr/bin")


def test_the_environment_comes_first(host, seen):
    """The venv's interpreter is first on PATH and is the same file in every stage."""
    path, target, home = host.check_output(
        "echo $PATH; readlink -e /app/.venv/bin/python; grep ^home /app/.venv/pyvenv.cfg"
    ).splitlines()
    assert path.startswith("/app/.venv/bin:"), f"PATH is {path}"
    assert (target, home) == ("/usr/bin/python3.11", "home = /usr/bin")
    seen(f"/app/.venv/bin/python is {target}")


def test_a_python_that_apt_installs_later_does_not_take_over(inside, seen):
    """A `python3` that another package brings later is put beside ours."""
    diverted = inside("root").check_output("dpkg-divert --list '/usr/bin/python*'")
    for name in ("python", "python3"):
        assert f"local diversion of /usr/bin/{name} to /usr/bin/{name}.distrib" in diverted
    seen("diverted to python3.distrib")
