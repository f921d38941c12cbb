"""`dev` has everything in the locks, with the dev group."""

from torchcrate.stages.locks import split_locks


def test_nothing_to_install(image, docker_run, seen):
    """`poetry install` finds nothing to do."""
    folders = (
        f"{image.project}:/mnt/here:ro",
        f"{image.project}/torchcrate/stages/locks:/mnt/locks:ro",
        f"{image.project}/packages:/mnt/project/packages:ro",  # where the build has them
    )
    groups, dev_groups, extras = map(image.build_arg, ("DEPENDENCY_GROUPS", "DEV_GROUPS", "EXTRAS"))
    command = (
        "/opt/poetry/venv/bin/python /mnt/locks/split_locks.py poetry /mnt/here /tmp/locks "
        f"--groups={groups} --dev-groups={dev_groups} --extras={extras} && "
        "cp /tmp/locks/poetry/*.* /mnt/project && "
        "xargs poetry install --dry-run --no-root --no-ansi --directory /mnt/project "
        "< /mnt/project/install-dev.options"
    )
    options = tuple(f"--volume={folder}" for folder in folders)
    done = docker_run(image, "bash", "-c", command, options=options)
    assert done.returncode == 0, done.stderr
    found = [line for line in done.stdout.splitlines() if "operations" in line or "No dep" in line]
    assert "0 installs, 0 updates, 0 removals" in done.stdout or "No dependencies" in done.stdout, (
        done.stdout
    )
    seen(found[0])


def test_dev_group(host, image, seen):
    """All packages of the groups in DEV_GROUPS are installed."""
    names = set(split_locks.listed(image.build_arg("DEV_GROUPS")))
    wanted = {
        package["name"]
        for package in split_locks.read(image.project / "poetry.lock")["package"]
        if names & set(package["groups"]) and not package.get("markers")
    }
    code = f"import importlib.metadata as m; print([m.version(name) for name in {sorted(wanted)}])"
    host.check_output("python -c %s", code)
    seen(f"{len(wanted)} packages of {', '.join(sorted(names)) or 'no group'}")
