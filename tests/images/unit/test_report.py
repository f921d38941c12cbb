"""The report says what was promised, what was seen, and what went wrong."""

import subprocess
import sys

import pytest

import report

TESTS = '''
import pytest

@pytest.fixture(params=[("gpu", "runtime"), ("cpu", "runtime")])
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


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("report")
    folder = tmp_path / "contract"
    folder.mkdir()
    (folder / "test_it.py").write_text(f'"""A file of promises."""\n{TESTS}')
    (tmp_path / "conftest.py").write_text(
        f"import sys\nsys.path.insert(0, {report.__file__.rpartition('/')[0]!r})\n"
        "from pathlib import Path\nimport report\n"
        f"report.CONTRACT = Path({str(folder)!r})\n"
        "from report import pytest_runtest_makereport, pytest_terminal_summary\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", tmp_path]
    command += [f"--junit-xml={tmp_path}/reports/junit.xml", tmp_path]
    subprocess.run(command, cwd=tmp_path, capture_output=True)
    return (tmp_path / "reports/contract.md").read_text()


@pytest.mark.parametrize(
    "line",
    [
        "## contract: A file of promises.",
        "| It is kept. | gpu (gpu-runtime)<br>cpu (cpu-runtime) | 2 ✓ |",
        "| It is broken. | (cpu-runtime)<br>AssertionError: here is the GPU (gpu-runtime) "
        "| 1 ✓, 1 **failed** |",
        "| It is not built. | OSError: no such image (gpu-runtime, cpu-runtime) | 2 **failed** |",
        "| It is skipped. | nothing \\| to see (gpu-runtime, cpu-runtime) | 2 skipped |",
    ],
)
def test_lines(written, line):
    assert line in written.splitlines()


@pytest.mark.parametrize(("option", "code"), [((), 0), (("--no-skips",), 1)])
def test_a_skip_fails_where_it_may_not_be(tmp_path, option, code):
    (tmp_path / "test_it.py").write_text(
        "import pytest\n\n\ndef test_it():\n    pytest.skip('no engine')\n"
    )
    (tmp_path / "conftest.py").write_text(
        f"import sys\nsys.path.insert(0, {report.__file__.rpartition('/')[0]!r})\n"
        "from options import pytest_addoption\nfrom report import pytest_runtest_makereport\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", tmp_path]
    done = subprocess.run(
        [*command, *option, tmp_path], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == code, done.stdout
    assert ("it was skipped: Skipped: no engine" in done.stdout) == bool(code)
