"""Python 3.11, the final one, is what `python` and `python3` are, for everybody."""

import pytest

FACTS = (
    "import sys; v = sys.version_info; "
    "print(v.major, v.minor, v.releaselevel, sys.prefix, sys.base_prefix)"
)


@pytest.mark.parametrize("user", ["", "root", "12345:12345"])
@pytest.mark.parametrize("name", ["python", "python3", "python3.11"])
def test_by_name(runtime, inside, name, user):
    run = inside(runtime, user=user).run
    assert run(f"{name} -c '{FACTS}'").stdout == "3 11 final /app/.venv /usr\n"


@pytest.mark.parametrize("name", ["python", "python3", "python3.11"])
def test_in_a_login_shell(runtime, inside, name):
    assert inside(runtime).run(f"bash -lc 'command -v {name}'").stdout == f"/app/.venv/bin/{name}\n"


@pytest.mark.parametrize("name", ["python", "python3", "/usr/bin/python3", "/usr/bin/python"])
def test_with_an_empty_environment(runtime, inside, name):
    assert inside(runtime).run(f"env -i {name} -c '{FACTS}'").stdout == "3 11 final /usr /usr\n"


def test_no_other_python(runtime, inside):
    found = inside(runtime).run("ls /usr/bin /usr/local/bin | grep -E '^python[0-9.]*$' | sort -u")
    assert found.stdout.split() == ["python", "python3", "python3.11"]


def test_a_python_that_apt_installs_later_does_not_take_over(runtime, inside):
    host = inside(runtime, user="root")
    diverted = host.check_output("dpkg-divert --list '/usr/bin/python*'")
    assert "/usr/bin/python3.distrib" in diverted
    assert "/usr/bin/python.distrib" in diverted
