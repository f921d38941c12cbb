"""In `dev`, Poetry has the pinned version and its own environment, and uses /app/.venv."""

import re

import pytest

ELSEWHERE = "mkdir -p /tmp/else && cp /app/pyproject.toml /tmp/else && cd /tmp/else"
EMPTY = "env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/tmp"
# {folder and environment: command}
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


def test_pinned_version(host, image, seen):
    """Poetry is the version that locks/poetry.txt pins."""
    lock = (image.project / "locks/poetry.txt").read_text()
    pinned = re.search(r"^poetry==(\S+)", lock, re.MULTILINE).group(1)
    found = host.check_output("poetry --version")
    assert found == f"Poetry (version {pinned})"
    seen(found)


def test_own_environment(host, seen):
    """Poetry has its own environment, and none of its packages is in yours."""
    found = host.check_output("head -1 /opt/poetry/venv/bin/poetry").removeprefix("#!")
    assert found == "/opt/poetry/venv/bin/python"
    code = 'import importlib.util as u; print(u.find_spec("poetry"), u.find_spec("pip"))'
    assert host.check_output("python -c %s", code) == "None None", "Poetry or pip in /app/.venv"
    seen(found)


def test_makes_no_environment(host, seen):
    """Poetry makes no environment: virtualenvs.create is false."""
    found = host.check_output("poetry config virtualenvs.create")
    assert found == "false"
    seen(found)


@pytest.mark.parametrize("way", WAYS)
def test_uses_venv(host, way, seen):
    """In any folder and with any variables, Poetry uses /app/.venv."""
    command = WAYS[way].format("poetry env info --path")
    found = host.run("bash -c %s", command)
    assert found.stdout.strip() == "/app/.venv", f"{found.stdout}{found.stderr} for {command}"
    seen(found.stdout.strip())


def test_system_stays_clean(inside, seen):
    """As root, in a folder without .venv, Poetry still installs into /app/.venv."""
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


def test_lock_up_to_date(host, seen):
    """`poetry check --lock` passes."""
    done = host.run("poetry check --lock -C /app")
    assert done.rc == 0, done.stdout + done.stderr
    seen(done.stdout.strip())


def test_system_packages(host, seen):
    """The system's Python has only packages that apt installed."""
    found = host.check_output(
        "find /usr/lib/python3*/dist-packages /usr/local/lib/python3*/*-packages -type f "
        "-not -name '*.pyc' 2>/dev/null || true"
    ).split()
    strange = [path for path in found if host.run("dpkg -S %s", path).rc]
    assert not strange, f"no apt package has {strange}"
    seen(f"{len(found)} files, all of apt's")


def test_shell(image, engine, seen):
    """`docker run -it IMAGE` starts a shell."""
    assert engine.images.get(image.tag).attrs["Config"]["Cmd"] == ["bash"]
    seen("bash")
