"""In `dev`, Poetry is the pinned one, lives apart, and installs into /app/.venv from anywhere."""

import re

import pytest

ELSEWHERE = "mkdir -p /tmp/else && cp /app/pyproject.toml /tmp/else && cd /tmp/else"
EMPTY = "env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/tmp"
# From where, and what may have happened to the environment before.
WAYS = {
    "in the project": "cd /app && {}",
    "in the project, no environment": f"cd /app && {EMPTY} {{}}",
    "elsewhere": f"{ELSEWHERE} && {{}}",
    "elsewhere, no environment": f"{ELSEWHERE} && {EMPTY} {{}}",
    "elsewhere, login shell": f"{ELSEWHERE} && bash -lc '{{}}'",
    "elsewhere, after deactivate": (
        f"source /app/.venv/bin/activate && deactivate && {ELSEWHERE} && {{}}"
    ),
}


def test_it_is_the_pinned_version(host, image, seen):
    """Poetry is the version that locks/poetry.txt pins."""
    lock = (image.project / "locks/poetry.txt").read_text()
    pinned = re.search(r"^poetry==(\S+)", lock, re.MULTILINE).group(1)
    found = host.check_output("poetry --version")
    assert found == f"Poetry (version {pinned})"
    seen(found)


def test_it_lives_apart(host, seen):
    """Poetry has an environment of its own, and none of its packages is in yours."""
    found = host.check_output("head -1 /opt/poetry/venv/bin/poetry").removeprefix("#!")
    assert found == "/opt/poetry/venv/bin/python"
    code = 'import importlib.util as u; print(u.find_spec("poetry"), u.find_spec("pip"))'
    assert host.check_output("python -c %s", code) == "None None", "Poetry or pip in /app/.venv"
    seen(found)


def test_it_makes_no_environment_of_its_own(host, seen):
    """virtualenvs.create is false."""
    found = host.check_output("poetry config virtualenvs.create")
    assert found == "false"
    seen(found)


@pytest.mark.parametrize("way", WAYS)
def test_it_resolves_to_the_projects_environment(host, way, seen):
    """From any folder and with any environment Poetry means /app/.venv, never the system."""
    command = WAYS[way].format("poetry env info --path")
    found = host.run("bash -c %s", command)
    assert found.stdout.strip() == "/app/.venv", f"{found.stdout}{found.stderr} for {command}"
    seen(found.stdout.strip())


def test_it_installs_nothing_into_the_system(inside, seen):
    """The trap: create=false, no .venv at hand, root. A package still lands in /app/.venv."""
    host = inside("root")
    package = '[project]\nname = "trap"\nversion = "1"\nrequires-python = ">=3.11"\n'
    host.check_output(
        "mkdir -p /tmp/trap/trap && cd /tmp/trap && touch trap/__init__.py && printf %s > "
        "pyproject.toml",
        package,
    )
    command = "cd /tmp/trap && unset VIRTUAL_ENV && poetry install --quiet && ls -d {}"
    sites = "/app/.venv/lib/python3.11/site-packages /usr/lib/python3*/dist-packages"
    sites += " /usr/local/lib/python3*/*-packages"
    try:
        host.check_output("bash -c %s", command.format("."))
        found = host.check_output(f"find {sites} -name 'trap*' 2>/dev/null || true").split()
        assert found, "it was installed nowhere"
        assert all(path.startswith("/app/.venv/") for path in found), found
        seen(found[0])
    finally:
        host.run("rm -rf /tmp/trap && find /app/.venv -name 'trap*' -exec rm -rf {} +")


def test_the_lock_is_up_to_date(host, seen):
    """`poetry check --lock` holds."""
    done = host.run("poetry check --lock -C /app")
    assert done.rc == 0, done.stdout + done.stderr
    seen(done.stdout.strip())


def test_the_systems_packages_are_the_bases(host, seen):
    """No package is in the system's Python but what Debian's or Ubuntu's own packages brought."""
    found = host.check_output(
        "find /usr/lib/python3*/dist-packages /usr/local/lib/python3*/*-packages -type f "
        "-not -name '*.pyc' 2>/dev/null || true"
    ).split()
    strange = [path for path in found if host.run("dpkg -S %s", path).rc]
    assert not strange, f"no apt package has {strange}"
    seen(f"{len(found)} files, all of apt's")


def test_a_shell_is_what_starts(image, engine, seen):
    """`docker run -it IMAGE` gives a shell."""
    assert engine.images.get(image.tag).attrs["Config"]["Cmd"] == ["bash"]
    seen("bash")
