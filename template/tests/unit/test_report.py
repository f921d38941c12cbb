"""The report says what was promised, what was seen, and what went wrong."""

import subprocess
import sys

import pytest

from torchcrate.host import TOP

TESTS = '''
import pytest

@pytest.fixture(params=[("gpu", "a"), ("cpu", "b")])
def image(request):
    return request.param

@pytest.fixture
def nothing():
    raise OSError("no such image")

def test_kept(image, record_property):
    """It is kept."""
    record_property("seen", image[0])

def test_broken(image):
    """It is broken."""
    assert image[0] == "cpu", "here is the GPU"

def test_not_built(image, nothing):
    """It is not built."""

def test_skipped(image):
    """It is skipped."""
    pytest.skip("nothing | to see")
'''


CONFTEST = f"""
import sys

sys.path.insert(0, {str(TOP)!r})
from torchcrate.testing.report import pytest_runtest_makereport, pytest_terminal_summary


def pytest_addoption(parser):
    parser.addoption("--no-skips", action="store_true")
    parser.addoption("--build", default="cpu")
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("report")
    folder = tmp_path / "contract"
    folder.mkdir()
    (folder / "test_it.py").write_text(f'"""A file of promises."""\n{TESTS}')
    (tmp_path / "conftest.py").write_text(CONFTEST)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", tmp_path]
    command += [f"--junit-xml={tmp_path}/reports/junit.xml", tmp_path]
    subprocess.run(command, cwd=tmp_path, capture_output=True)
    return (tmp_path / "reports/contract.md").read_text()


@pytest.mark.parametrize(
    "line",
    [
        "## contract: A file of promises.",
        "| It is kept. | gpu (cpu-gpu)<br>cpu (cpu-cpu) | 2 ✓ |",
        "| It is broken. | (cpu-cpu)<br>AssertionError: here is the GPU (cpu-gpu) "
        "| 1 ✓, 1 **failed** |",
        "| It is not built. | OSError: no such image (cpu-gpu, cpu-cpu) | 2 **failed** |",
        "| It is skipped. | nothing \\| to see (cpu-gpu, cpu-cpu) | 2 skipped |",
    ],
)
def test_lines(written, line):
    assert line in written.splitlines()


@pytest.mark.parametrize(("option", "code"), [((), 0), (("--no-skips",), 1)])
def test_no_skips(tmp_path, option, code):
    (tmp_path / "test_it.py").write_text(
        "import pytest\n\n\ndef test_it():\n    pytest.skip('no engine')\n"
    )
    (tmp_path / "conftest.py").write_text(CONFTEST)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", tmp_path]
    done = subprocess.run(
        [*command, *option, tmp_path], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == code, done.stdout
    assert ("it was skipped: Skipped: no engine" in done.stdout) == bool(code)
