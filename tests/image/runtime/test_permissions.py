"""The image's user has no rights, and no file gives any. Read from the layers."""


def owner(contents):
    user, _, group = contents.config["config"].get("User", "").partition(":")
    return user, group


def test_not_root(contents, seen):
    """The image's user is a number and not root, as Kubernetes' runAsNonRoot needs."""
    user, group = owner(contents)
    assert user.isdigit(), f"the user is {user!r}"
    assert int(user), "the user is root"
    assert group.isdigit() and int(group), f"the group is {group!r}"
    seen(f"{user}:{group}")


def test_user_owns_nothing(contents, seen):
    """No file belongs to the image's user or group."""
    user, group = owner(contents)
    files = contents.files
    owned = [p for p, e in files.items() if str(e.uid) == user or str(e.gid) == group]
    assert not owned, f"{user}:{group} owns {owned[:5]}"
    seen(f"owns none of {len(files)} paths")


def test_app_owner(contents, seen):
    """All files in /app belong to root."""
    files = {p: e for p, e in contents.files.items() if p.split("/")[0] == "app"}
    others = [p for p, e in files.items() if (e.uid, e.gid) != (0, 0)]
    assert not others, f"not root's: {others[:5]}"
    seen(f"{len(files)} paths")


def test_not_world_writable(contents, seen):
    """No file is writable for everybody, except those of the base image."""
    base = contents.base_files
    found = {p for p, e in contents.files.items() if e.mode & 0o002 and not e.is_link}
    places = {p for p, e in base.items() if e.mode & 0o002 and not e.is_link}
    assert found <= places, f"writable for everybody: {sorted(found - places)[:5]}"
    seen(", ".join(f"/{path}" for path in sorted(found)))


def test_no_setuid(contents, seen):
    """No program is setuid or setgid, except the base image's."""
    base = contents.base_files
    found = {p for p, e in contents.files.items() if e.mode & 0o6000 and not e.is_folder}
    places = {p for p, e in base.items() if e.mode & 0o6000}
    assert found <= places, f"setuid or setgid: {sorted(found - places)}"
    seen(f"{len(found)}, all from the base image")
