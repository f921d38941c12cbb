"""`dev` has everything in the locks, with the dev group."""

from torchcrate.stages.locks import split_locks


def test_nothing_to_install(image, docker_run, seen):
    """`poetry install` finds nothing to do."""
    # Path dependencies lie where the build has them.
    names = ("pyproject.toml", "poetry.lock", split_locks.PACKAGES)
    options = [f"--volume={image.project / name}:/mnt/{name}:ro" for name in names]
    pyproject = split_locks.read(image.project / "pyproject.toml")
    chosen = map(image.build_arg, ("DEPENDENCY_GROUPS", "DEV_GROUPS", "EXTRAS"))
    _, groups, extras = split_locks.chosen(pyproject, *chosen)
    groups &= {"main", *split_locks.groups(pyproject)}
    command = ["poetry", "install", "--directory=/mnt", "--dry-run", "--no-root", "--no-ansi"]
    command += [f"--only={','.join(sorted(groups))}", *(f"--extras={name}" for name in extras)]
    done = docker_run(image, *command, options=tuple(options))
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
