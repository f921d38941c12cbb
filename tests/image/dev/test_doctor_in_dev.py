"""In `dev`, which keeps the torch lock, the doctor knows its torch."""


def test_the_doctor_notices_another_torch(shell, image, other_torch, seen):
    """Where torch is not the image's any more, the doctor says so and how to restore it."""
    done = shell("doctor")
    assert f"ok  torch is build {image.build}, as its lock has it" in done.stdout, done.stderr
    done = shell(f"{other_torch.swap}; doctor", *other_torch.options)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "torch was changed since the image was built: torch is 9.9 instead" in done.stdout
    assert "→ Run `restore-torch`" in done.stdout
    seen("PROBLEM, and `restore-torch`")
