"""In `dev` the doctor compares torch with the torch lock."""


def test_other_torch(shell, image, other_torch, seen):
    """If torch was replaced, the doctor says so, and how to restore it."""
    done = shell("doctor")
    assert f"ok  torch is build {image.build}, as its lock has it" in done.stdout, done.stderr
    done = shell(f"{other_torch.swap}; doctor", *other_torch.options)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "torch was changed since the image was built: torch is 9.9 instead" in done.stdout
    assert "→ Run `restore-torch`" in done.stdout
    seen("PROBLEM, and `restore-torch`")
