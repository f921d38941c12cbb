"""The sample's own tests pass where they can run: inside the `dev` image."""


def test_the_samples_tests_pass(dev, docker_run):
    done = docker_run(dev, "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_torch_compile_works(dev, docker_run):
    code = (
        "import torch; f = torch.compile(lambda x: torch.sin(x) ** 2 + torch.cos(x) ** 2); "
        "print(f(torch.arange(8.)).round().tolist())"
    )
    done = docker_run(dev, "python", "-c", code)
    assert done.stdout == f"{[1.0] * 8}\n", done.stderr
