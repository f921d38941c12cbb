"""In `dev`, Poetry is the pinned one, lives apart, and installs into /app/.venv from anywhere."""

import re

import pytest


def test_it_is_the_pinned_version(dev, inside):
    pinned = re.search(r"^poetry==(\S+)", (dev.project / "locks/poetry.txt").read_text(), re.M)
    assert f"version {pinned.group(1)})" in inside(dev).check_output("poetry --version")


def test_it_makes_no_environment_of_its_own(dev, inside):
    assert inside(dev).check_output("poetry config virtualenvs.create") == "false"


@pytest.mark.parametrize("folder", ["/app", "/tmp/elsewhere"])
def test_it_uses_the_projects_environment(dev, inside, folder):
    host = inside(dev)
    host.check_output(f"mkdir -p {folder}")
    host.check_output(f"cp -n /app/pyproject.toml {folder}/")
    assert host.check_output(f"cd {folder} && poetry env info --path") == "/app/.venv"


def test_it_leaks_nothing_into_it(dev, inside):
    found = inside(dev).check_output(
        'python -c \'import importlib.util as u; print(u.find_spec("poetry"), u.find_spec("pip"))\''
    )
    assert found == "None None"


def test_the_lock_is_up_to_date(dev, inside):
    inside(dev).check_output("cd /app && poetry check --lock")


def test_the_dev_group_is_there(dev, inside):
    inside(dev).check_output("python -m pytest --version && ruff --version")


def test_a_shell_is_what_starts(dev, engine):
    assert engine.images.get(dev.tag).attrs["Config"]["Cmd"] == ["bash"]
