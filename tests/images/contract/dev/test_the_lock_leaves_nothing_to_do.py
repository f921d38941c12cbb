"""In `dev` everything that the locks name is there, the dev group too."""


def test_nothing_to_install(image, docker_run, seen):
    """Poetry's half of the lock installs with nothing left to do."""
    folders = (f"{image.project}:/mnt/project:ro", f"{image.project}/docker/locks:/mnt/locks:ro")
    groups, dev_groups, extras = map(image.build_arg, ("DEPENDENCY_GROUPS", "DEV_GROUPS", "EXTRAS"))
    command = (
        f"/opt/poetry/venv/bin/python /mnt/locks/split_locks.py /mnt/project /tmp/locks "
        f"--build {image.build} --groups={groups} --dev-groups={dev_groups} --extras={extras} && "
        "xargs poetry install --dry-run --no-root --no-ansi --directory /tmp/locks/poetry "
        "< /tmp/locks/poetry/install-dev.options"
    )
    options = tuple(f"--volume={folder}" for folder in folders)
    done = docker_run(image, "bash", "-c", command, options=options)
    assert done.returncode == 0, done.stderr
    found = [line for line in done.stdout.splitlines() if "operations" in line or "No dep" in line]
    assert "0 installs, 0 updates, 0 removals" in done.stdout or "No dependencies" in done.stdout, (
        done.stdout
    )
    seen(found[0])


def test_the_dev_group_works(host, seen):
    """The dev group's commands run."""
    found = host.check_output("python -m pytest --version && ruff --version").split("\n")
    seen(", ".join(found))
