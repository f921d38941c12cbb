"""Projects before they adopt the images: three layouts, each in git."""

import subprocess
from pathlib import Path

# Poetry resolves the CUDA packages of this torch in four seconds. Those of 2.13 are extras of one
# package, which takes half a minute. GPU is the build that the default index has.
TORCH, TORCHVISION, GPU = "2.9.1", "0.24.1", "cu128"
FLAT = {
    "pyproject.toml": """\
# As Poetry 1 wrote it.
[tool.poetry]
name = "Word_Count"
version = "1.2.0"
description = ""
authors = ["Me <me@example.com>"]
readme = "README.md"  # Poetry wants it to be there
packages = [{ include = "wordcount" }]

[tool.poetry.dependencies]
python = ">=3.10,<3.15"  # as triton has it
torch = "2.9.1"

[tool.poetry.group.dev.dependencies]
pytest = "^7.4"  # older than the image's tests have it

[tool.poetry.group.docs]
optional = true

[tool.poetry.group.docs.dependencies]
mkdocs = "*"

[build-system]
requires = ["poetry-core"]
build-backend = "poetry.core.masonry.api"
""",
    "README.md": "# theirs\n",
    "Makefile": "test:\n\t@echo their test\n",
    ".dockerignore": ".git\n",
    ".gitignore": "__pycache__/\n",
    ".pre-commit-config.yaml": "repos: []\n",
    "wordcount/__init__.py": "",
    "wordcount/__main__.py": 'import torch\n\nprint("words on", torch.__version__)\n',
    "tests/test_words.py": "import wordcount\n\n\ndef test_it():\n    assert wordcount\n",
}
SRC = {
    "pyproject.toml": """\
[project]
name = "ocean"
version = "0.1.0"
requires-python = ">=3.11,<3.13"
dependencies = [
    "torch (>=2.9,<2.10)", # the range's last
    "torchvision (==0.24.1)",
]

[project.scripts]
waves = "ocean.waves:main"

[tool.poetry]
packages = [{ include = "ocean", from = "src" }]

[tool.pytest.ini_options]
addopts = [
    "-ra", # all but passed
]

[build-system]
requires = ["poetry-core>=2.0,<3.0"]
build-backend = "poetry.core.masonry.api"
""",
    # Works only where the project's own metadata is.
    "src/ocean/__init__.py": """\
from importlib.metadata import version

__version__ = version("ocean")
""",
    "src/ocean/waves.py": "import torch\n\n\ndef main():\n    print('waves', torch.__version__)\n",
    "src/ocean/__main__.py": "from ocean.waves import main\n\nmain()\n",
    "train.py": "import ocean.waves\n\nocean.waves.main()\n",
}
SCRIPTS = {
    "pyproject.toml": """\
[tool.poetry]
package-mode = false

[tool.poetry.dependencies]
python = "~3.11"
torch = "2.9.1"
""",
    "train.py": "from models.net import NAME\n\nprint(NAME)\n",
    "evaluate.py": "",
    "models/net.py": "import torch\n\nNAME = f'net on {torch.__version__}'\n",
}
OPTIONAL_TORCH = """\
torch = { version = "2.9.1", optional = true }

[tool.poetry.extras]
ml = ["torch"]
"""
# Torch is in an extra only.
OPTIONAL = {
    **SCRIPTS,
    "pyproject.toml": SCRIPTS["pyproject.toml"].replace('torch = "2.9.1"\n', OPTIONAL_TORCH),
}
LAYOUTS = {"flat": FLAT, "src": SRC, "scripts": SCRIPTS}


def write(folder: Path, files: dict[str, str]) -> Path:
    """Write the files of a project, commit them, and return its folder."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    commit(folder)
    return folder


def commit(folder: Path) -> None:
    """Commit all files, in a repository of its own."""
    as_me = ("-c", "user.name=me", "-c", "user.email=me@example.com")
    for arguments in (
        ("init", "--quiet"),
        ("add", "--all"),
        (*as_me, "commit", "--quiet", "--no-verify", "--allow-empty", "--message=theirs"),
    ):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
