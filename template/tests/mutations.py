"""Small edits that break an image, each with the contract's test that must fail.

An edit is what somebody might do to the Dockerfile, to one of its scripts or to the sample. Most
are in the last stage that shows the fault, so that the stages below come from the cache. Edits that
do not hide each other share an image. `--one-by-one` builds an image for each.
"""

import re

from template.tests import sample_mutations
from template.tests.edits import Mutation, as_root, at_end, replace
from torchcrate import build
from torchcrate.host import TOP

SITE = "/app/.venv/lib/python3.11/site-packages"
# One of torch's CUDA packages.
LOCK = (TOP / f"locks/torch.{build.default_gpu_build()}.txt").read_text()
CUDA_PACKAGE = re.search(r"^(nvidia-[\w-]+)==", LOCK, re.MULTILINE).group(1)
# The article sets Poetry up with one variable.
ARTICLES_POETRY = at_end(
    "dev",
    "ENV POETRY_VIRTUALENVS_CREATE=false",
    "RUN ln -sf /opt/poetry/bin/poetry /usr/local/bin/poetry",
)
# Why some mutations have an image of their own.
FROM_BASE = "almost all of it is built again"
OTHER_TIMES = "other edits write files twice, and at other times"
DEFAULT = "base/test_default_python.py::"
WHOLE = "base/test_standard_library.py::"
POETRY = "dev/test_poetry.py::"
DONE = "dev/test_lock_is_installed.py::"
COMPILES = "torch/test_torch_compile.py::"
HELD = "dev/test_held_torch.py::"
STUBS = "dev/test_held_torch_on_stubs.py::"
BUILD = "torch/test_torch_build.py::"
COMPUTES = "torch/test_torch_computes.py::"
LOCKS = "torch/test_locked_packages.py::"
SCRIPT = '[project.scripts]\ntrain = "digits.__main__:main"'
FILES = "runtime/test_files.py::"
SLIM = "runtime/test_slim.py::"
SYSTEM = "runtime/test_system_files.py::"
RIGHTS = "runtime/test_permissions.py::"
RUNS = "runtime/test_any_user.py::"
SECRETS = "runtime/test_no_secrets.py::"
LABELS = "runtime/test_labels.py::"
CONFIGURATION = "base/test_configuration.py::"

BASE = [
    Mutation(
        "the venv has no python3",
        f"{DEFAULT}test_by_name",
        "not one Python but",
        at_end("base", "RUN rm /app/.venv/bin/python3"),
    ),
    Mutation(
        "/usr/bin/python3 is missing",
        f"{DEFAULT}test_empty_environment",
        "no python3",
        at_end("base", "RUN rm /usr/bin/python3"),
    ),
    Mutation(
        "the entrypoint runs python as a script",
        f"{DEFAULT}test_container_command",
        "cannot execute binary file",
        at_end("base", 'ENTRYPOINT ["bash"]'),
        apart="nothing starts in it",
    ),
    Mutation(
        "no diversion: a later python3 of apt becomes the default",
        f"{DEFAULT}test_later_python3",
        "local diversion of /usr/bin/python",
        replace("torchcrate/stages/base/install-python.sh", "    dpkg-divert ", "    : "),
    ),
    Mutation(
        "the venv is not on PATH",
        f"{DEFAULT}test_venv_first",
        "PATH is /usr/local/sbin",
        replace("Dockerfile", "ENV PATH=$VIRTUAL_ENV/bin:$PATH LANG", "ENV LANG"),
        apart="the names then mean the system's Python",
    ),
    Mutation(
        "a login shell forgets the venv",
        f"{DEFAULT}test_login_shell",
        "a login shell finds ['/usr/bin/python'",
        at_end("base", "RUN rm /etc/profile.d/venv.sh"),
    ),
    Mutation(
        "a module of the standard library is missing",
        f"{WHOLE}test_standard_library",
        "broken: {'lzma': ",
        at_end("base", "RUN rm /usr/lib/python3.11/lzma.py"),
    ),
    Mutation(
        "the certificates are missing",
        f"{WHOLE}test_standard_library",
        "broken: {'ssl': ",
        at_end("base", "RUN rm -r /etc/ssl/certs"),
    ),
    Mutation(
        "text is not UTF-8",
        f"{WHOLE}test_utf8",
        "other programs read 6 letters",
        at_end("base", "ENV LANG=C"),
    ),
]

DEV = [
    Mutation(
        "another Poetry",
        f"{POETRY}test_pinned_version",
        "Poetry (version 1.8.0)",
        at_end("dev", "RUN sed -i '/^exec/s/.*/echo \"Poetry (version 1.8.0)\"/' $(which poetry)"),
        apart="it answers everything with its version",
    ),
    Mutation(
        "Poetry's packages in the project's environment",
        f"{POETRY}test_own_environment",
        "Poetry or pip in /app/.venv",
        at_end("dev", f"RUN cp -r /opt/poetry/venv/lib/python3.11/site-packages/poetry {SITE}/"),
    ),
    Mutation(
        "Poetry may make environments",
        f"{POETRY}test_makes_no_environment",
        "'true' == 'false'",
        at_end("dev", "RUN sed -i 's/ POETRY_VIRTUALENVS_CREATE=false//' /usr/local/bin/poetry"),
    ),
    Mutation(
        "create=false and no environment, as in the article",
        f"{POETRY}test_system_stays_clean",
        "['/usr/local/lib/python3.11/",
        ARTICLES_POETRY,
        apart="Poetry is another program",
    ),
    Mutation(
        "Poetry uses /app/.venv only if VIRTUAL_ENV says so",
        f"{POETRY}test_uses_venv",
        "deactivate",
        ARTICLES_POETRY,
        apart="Poetry is another program",
    ),
    Mutation(
        "pyproject.toml is not the one that was locked",
        f"{POETRY}test_lock_up_to_date",
        "pyproject.toml changed significantly",
        at_end("dev", "RUN sed -i 's/^dependencies = \\[/&\"einops\",/' pyproject.toml"),
        apart="Poetry stops before it installs",
    ),
    Mutation(
        "a package is in the system's Python",
        f"{POETRY}test_system_packages",
        "no apt package has ['/usr/local/lib/python3.11/dist-packages/stray.py']",
        at_end("dev", "RUN touch /usr/local/lib/python3.11/dist-packages/stray.py"),
    ),
    Mutation(
        "the image starts Python, not a shell",
        f"{POETRY}test_shell",
        "['python'] == ['bash']",
        at_end("dev", 'CMD ["python"]'),
    ),
    Mutation(
        "a dependency is missing",
        f"{DONE}test_nothing_to_install",
        "Installing tqdm",
        at_end("dev", f"RUN rm -r {SITE}/tqdm {SITE}/tqdm-* /app/.venv/bin/tqdm"),
    ),
    Mutation(
        "the dev group is missing",
        f"{DONE}test_dev_group",
        "PackageNotFoundError: No package metadata was found for ",
        replace("Dockerfile", "/mnt/locks/dev.txt", "/mnt/locks/sources.txt"),
    ),
    Mutation(
        "Poetry may change torch",
        f"{HELD}test_poetry[poetry install]",
        "poetry install changed [",
        at_end("dev", "RUN rm -r /opt/poetry/venv/lib/python3.11/site-packages/hold_torch-*"),
    ),
    Mutation(
        "Poetry may change one of torch's packages",
        f"{STUBS}test_poetry_remove",
        "poetry remove einops changed [",
        replace(
            "torchcrate/stages/dev/hold_torch.py",
            'return split_locks.family({"package": packages}) | split_locks',
            "return set() & split_locks",
        ),
    ),
    Mutation(
        "only root may write to the environment",
        f"{HELD}test_other_packages",
        "Permission denied",
        replace("torchcrate/stages/dev/hold-torch.sh", "chmod a+w", "true"),
        apart="nothing can be changed in it",
    ),
    Mutation(
        "imports come from the image's copy of the code",
        f"{HELD}test_workspace_imports",
        "/app/src/made_here.py",
        at_end("dev", f"RUN rm {SITE}/app_dev.pth"),
    ),
    Mutation(
        "editors have no user",
        f"{HELD}test_editor_user",
        "no such user",
        at_end("dev", "RUN userdel dev"),
    ),
    Mutation(
        "no compiler",
        f"{COMPILES}test_torch_compile",
        "compiler",
        at_end("dev", "RUN rm /usr/bin/g++* /usr/bin/gcc* /usr/bin/c++ /usr/bin/cc"),
        real=True,
    ),
]

TORCH = [
    Mutation(
        "another build of torch",
        f"{BUILD}test_cuda",
        "torch.version.cuda is 11.8",
        as_root(f"RUN sed -i 's/^cuda = .*/cuda = \"11.8\"/' {SITE}/torch/version.py"),
    ),
    Mutation(
        "another version of torch",
        f"{BUILD}test_version",
        "torch 2.0.1+cu118",
        as_root(f"RUN sed -i '/^__version__/s/=.*/= \"2.0.1+cu118\"/' {SITE}/torch/version.py"),
    ),
    Mutation(
        "importing torch needs a driver",
        f"{BUILD}test_without_driver",
        "libcuda.so.1: cannot open shared object file",
        as_root(
            f"RUN echo 'import ctypes; ctypes.CDLL(\"libcuda.so.1\")' >> {SITE}/torch/__init__.py",
        ),
        apart="nothing can import torch",
    ),
    Mutation(
        "a CUDA package is missing",
        f"{BUILD}test_cuda_packages",
        f"['{CUDA_PACKAGE}']",
        as_root(f"RUN rm -r {SITE}/{CUDA_PACKAGE.replace('-', '_')}*"),
    ),
    Mutation(
        "the dev group in runtime",
        f"{LOCKS}test_installed_packages",
        "'pytest': 'installed ",
        replace("Dockerfile", "source=/locks/new.txt", "source=/locks/dev.txt"),
        apart=FROM_BASE,
    ),
    Mutation(
        "your project's own version is not there",
        f"{LOCKS}test_installed_packages",
        "'torchcrate': 'installed None",
        replace("Dockerfile", "COPY --from=locks /locks/project /layers/1\n"),
        apart=FROM_BASE,
    ),
    Mutation(
        "your command runs in the system's Python",
        f"{LOCKS}test_own_commands",
        "train begins with #!/usr/bin/python3",
        (
            *replace("pyproject.toml", "[dependency-groups]", f"{SCRIPT}\n[dependency-groups]"),
            *as_root("RUN sed -i 1s:.*:#!/usr/bin/python3: /app/.venv/bin/train"),
        ),
        apart="the command is in no other",
    ),
    Mutation(
        "a package that no lock names",
        f"{LOCKS}test_installed_packages",
        "'stray': 'installed 1, locked None'",
        as_root(
            f"RUN mkdir {SITE}/stray-1.dist-info && "
            f"printf 'Name: stray\\nVersion: 1\\n' > {SITE}/stray-1.dist-info/METADATA"
        ),
    ),
    Mutation(
        "a convolution gives wrong numbers",
        f"{COMPUTES}test_convolution",
        "324.0 == ",
        as_root(
            "RUN printf 'forward = Conv2d.forward\\nConv2d.forward = lambda *a: 2 * forward(*a)\\n'"
            f" >> {SITE}/torch/nn/modules/conv.py"
        ),
        real=True,
    ),
    Mutation(
        "workers cannot be started",
        f"{COMPUTES}test_dataloader",
        "no workers here",
        as_root(
            "RUN printf 'def _worker_loop(*_):\\n    raise OSError(\"no workers here\")\\n'"
            f" >> {SITE}/torch/utils/data/_utils/worker.py"
        ),
        real=True,
    ),
    Mutation(
        "torch was built for another CUDA than it says",
        f"{COMPUTES}test_torch_report",
        "'11.8' == 'None'",
        as_root(f"RUN sed -i 's/^cuda: .*/cuda = \"11.8\"/' {SITE}/torch/version.py"),
        real=True,
    ),
]

RUNTIME = [
    Mutation(
        "apt installs a package that nothing needs",
        f"{FILES}test_apt_packages",
        "nothing needs ['make']",
        replace(
            "torchcrate/stages/base/install-python.sh",
            "python3.11 tzdata",
            "python3.11 tzdata make",
        ),
        apart=FROM_BASE,
    ),
    Mutation(
        "a stray file outside /app",
        f"{SYSTEM}test_system_files",
        "no apt package has /etc/notes",
        as_root("RUN touch /etc/notes"),
    ),
    Mutation(
        "a program of the system is another one",
        f"{SYSTEM}test_system_files",
        "/usr/bin/env is not as apt's package has it",
        as_root("RUN echo >> /usr/bin/env"),
    ),
    Mutation(
        "a file of the base image is deleted",
        f"{SYSTEM}test_nothing_gone",
        "missing: ['etc/issue']",
        as_root("RUN rm /etc/issue"),
    ),
    Mutation(
        "the CA bundle has a line more",
        f"{SYSTEM}test_certificates",
        "the CA bundle has '# mine'",
        as_root("RUN echo '# mine' >> /etc/ssl/certs/ca-certificates.crt"),
    ),
    Mutation(
        "the linker's cache is another one",
        f"{SYSTEM}test_linker_cache",
        "ldconfig makes another one",
        as_root("RUN echo >> /etc/ld.so.cache"),
    ),
    Mutation(
        "a module of the system has another's bytecode",
        f"{SYSTEM}test_system_bytecode",
        "/usr/lib/python3.11/__pycache__/ast.cpython-311.pyc",
        as_root(
            "RUN cd /usr/lib/python3.11/__pycache__ && cp abc.cpython-311.pyc ast.cpython-311.pyc"
        ),
    ),
    Mutation(
        "torch was edited after it was installed",
        f"{FILES}test_records",
        "site-packages/torch/version.py",
        as_root(f"RUN echo '# patched' >> {SITE}/torch/version.py"),
    ),
    Mutation(
        "a file of a package is missing",
        f"{FILES}test_records",
        "site-packages/torch/bin/torch_shm_manager",
        as_root(f"RUN rm {SITE}/torch/bin/torch_shm_manager"),
    ),
    Mutation(
        "nothing is pruned",
        f"{FILES}test_pruned_files",
        "not pruned: [",
        replace("torchcrate/stages/install/wheels.sh", "-delete\n    done", "-print\n    done"),
        apart=FROM_BASE,
    ),
    Mutation(
        "more is pruned than the list has",
        f"{FILES}test_records",
        "torch/bin/torch_shm_manager",
        replace(
            "torchcrate/stages/install/wheels.sh",
            '-path "$site/$pattern"',
            '-path "$site/torch/bin/*"',
        ),
    ),
    Mutation(
        "a file in the environment that no package has",
        f"{FILES}test_venv_files",
        "site-packages/stray.py'",
        as_root(f"RUN touch {SITE}/stray.py"),
    ),
    Mutation(
        "a stray file beside the code",
        f"{FILES}test_code_files",
        "'app/src/notes'",
        as_root("RUN touch /app/src/notes"),
    ),
    Mutation(
        "chown in its own layer copies the files",
        f"{FILES}test_written_once",
        "files are in more than one layer",
        as_root(f"RUN chown -R 1000 {SITE}/torch"),
        apart="other edits write files twice",
    ),
    Mutation(
        "a file is deleted in a later layer",
        f"{FILES}test_written_once",
        "var/leftover (deleted)",
        as_root("RUN touch /var/leftover", "RUN rm /var/leftover"),
        apart=OTHER_TIMES,
    ),
    Mutation(
        "a package in two layers",
        f"{FILES}test_torch_layer",
        "in two layers: [",
        as_root(f"RUN touch {SITE}/jinja2-*.dist-info/RECORD"),
    ),
    Mutation(
        "a layer of dependencies is not copied",
        f"{LOCKS}test_installed_packages",
        "'matplotlib': 'installed None",
        replace("Dockerfile", "COPY --link --from=settled /layers/7 /\n"),
        apart="packages that other edits change are missing",
    ),
    Mutation(
        "packages are divided among layers by kind of file",
        f"{FILES}test_one_layer_each",
        "in several layers: {'",
        replace("torchcrate/stages/install/split_layers.py", "found[name]", "found[file[-3:]]"),
        apart=FROM_BASE,
    ),
    Mutation(
        "bytecode is checked by time",
        f"{FILES}test_bytecode",
        "not checked by hash: ",
        as_root(f"RUN python -m compileall -f -q {SITE}/torch"),
    ),
    Mutation(
        "no bytecode",
        f"{FILES}test_bytecode",
        "torch is not compiled",
        as_root(f"RUN rm -r {SITE}/torch/__pycache__"),
    ),
    Mutation(
        "bytecode of packages' tests",
        f"{FILES}test_bytecode",
        "bytecode of packages' tests: ['app/.venv/lib/python3.11/site-packages/networkx/",
        as_root(f"RUN python -m compileall -f -q --invalidation-mode checked-hash {SITE}/networkx"),
    ),
    Mutation(
        "files have the time of the build",
        f"{FILES}test_times",
        "different times",
        as_root(f"RUN touch --date=@1500000000 {SITE}/torch/version.py"),
        apart=OTHER_TIMES,
    ),
    Mutation(
        "the code has the time of the build",
        f"{FILES}test_times",
        "different times",
        # With a file of its own: BuildKit's cache holds the layer that differs in nothing but time.
        replace("Dockerfile", "find /layers -exec touch", "date >/layers/1/app/src/date #"),
        apart="other edits change the times above it",
    ),
    Mutation(
        "apt's packages stay, since its cache mount is gone",
        f"{SYSTEM}test_system_files",
        "no apt package has /mnt/cache/",
        replace("Dockerfile", "--mount=type=cache,id=apt,target=/mnt/cache,sharing=locked "),
        apart=FROM_BASE,
    ),
    Mutation(
        "pip stays",
        f"{SLIM}test_absent",
        "pip: ['app/.venv/bin/pip']",
        as_root("RUN touch /app/.venv/bin/pip"),
    ),
    Mutation(
        "uv stays",
        f"{SLIM}test_absent",
        "uv: ['usr/local/bin/uv']",
        at_end("runtime", "COPY --from=builder /opt/uv/bin/uv /usr/local/bin/"),
    ),
    Mutation(
        "Poetry stays",
        f"{SLIM}test_absent",
        "Poetry: ['usr/local/bin/poetry']",
        at_end("runtime", "COPY --from=builder /usr/local/bin/poetry /usr/local/bin/"),
    ),
    Mutation(
        "a compiler stays",
        f"{SLIM}test_absent",
        "a compiler: ['usr/bin/gcc']",
        at_end("runtime", "COPY --from=builder /usr/bin/gcc /usr/bin/"),
    ),
    Mutation(
        "Python's headers stay",
        f"{SLIM}test_absent",
        "headers of Python: ['usr/include/python3.11/",
        at_end(
            "runtime",
            "COPY --from=builder /usr/include/python3.11/Python.h /usr/include/python3.11/",
        ),
    ),
    Mutation(
        "a cache stays",
        f"{SLIM}test_absent",
        "a cache: ['root/.cache/uv/wheel']",
        as_root("RUN mkdir -p /root/.cache/uv && touch /root/.cache/uv/wheel"),
    ),
    Mutation(
        "git stays",
        f"{SLIM}test_absent",
        "git or curl: ['usr/bin/git']",
        at_end("runtime", "COPY --from=builder /usr/bin/git /usr/bin/"),
    ),
    Mutation(
        "apt's lists stay",
        f"{SLIM}test_absent",
        "apt's lists: ['var/lib/apt/lists/a_list']",
        as_root("RUN touch /var/lib/apt/lists/a_list"),
    ),
    Mutation(
        "a package that apt downloaded stays",
        f"{SLIM}test_absent",
        "apt's packages: ['var/cache/apt/archives/a.deb']",
        as_root("RUN touch /var/cache/apt/archives/a.deb"),
    ),
    Mutation(
        "a file that a step mounted stays",
        f"{SLIM}test_absent",
        "a mount of the build: ['mnt/torch.whl']",
        as_root("RUN touch /mnt/torch.whl"),
    ),
    Mutation(
        "the tests are copied",
        f"{SLIM}test_absent",
        "the repository's tests: ['app/tests/",
        at_end("runtime", "COPY tests /app/tests"),
    ),
    Mutation(
        "the locks are copied",
        f"{SLIM}test_absent",
        "the repository's locks: ['app/poetry.lock']",
        at_end("runtime", "COPY poetry.lock /app/"),
    ),
    Mutation(
        "a netrc below src is copied",
        f"{SLIM}test_absent",
        "a file of secrets: ['app/src/.netrc']",
        replace(".dockerignore", "**/.netrc\n"),
        apart="another edit brings .env too",
    ),
    Mutation(
        "the whole repository is copied, with .git",
        f"{SLIM}test_absent",
        "the repository's history: ['app/.git/",
        replace(".dockerignore", "\n*\n", "\n") + at_end("runtime", "COPY . /app"),
        apart="it brings secrets too",
    ),
    Mutation(
        "no USER",
        f"{RIGHTS}test_not_root",
        "the user is ''",
        replace("Dockerfile", "USER 10001:10001\n"),
        apart="edits that run as root set USER themselves",
    ),
    Mutation(
        "the user owns the code",
        f"{RIGHTS}test_user_owns_nothing",
        "10001:10001 owns ['app/src'",
        replace(
            "Dockerfile",
            "find /layers ",
            "chown -R 10001:10001 /layers/1/app/src && find /layers ",
        ),
    ),
    Mutation(
        "another user owns torch",
        f"{RIGHTS}test_app_owner",
        "not root's: ['app/.venv/lib/python3.11/site-packages/torch'",
        as_root(f"RUN chown -R 1000 {SITE}/torch"),
    ),
    Mutation(
        "a folder is writable for everybody",
        f"{RIGHTS}test_not_world_writable",
        "writable for everybody: ['app/results']",
        as_root("RUN mkdir -m 777 /app/results"),
    ),
    Mutation(
        "a setuid program",
        f"{RIGHTS}test_no_setuid",
        "setuid or setgid: ['usr/bin/env']",
        as_root("RUN chmod u+s /usr/bin/env"),
    ),
    Mutation(
        "HOME is root's",
        f"{RUNS}test_home_and_torch",
        "Permission denied: '/root/.cache",
        at_end("runtime", "ENV HOME=/root"),
    ),
    Mutation(
        "the user has no name",
        f"{RUNS}test_home_and_torch",
        "uid not found: 12345",
        at_end("runtime", "ENV USER="),
        apart="another edit makes this test fail",
    ),
    Mutation(
        "the entrypoint is a shell, as in the article",
        f"{RUNS}test_any_command",
        "cannot execute binary file",
        at_end("runtime", 'ENTRYPOINT ["/bin/bash"]'),
        apart="nothing starts in it",
    ),
    Mutation(
        "a wrapper swallows the exit code",
        f"{RUNS}test_exit_code",
        "assert 0 == 7",
        at_end("runtime", 'ENTRYPOINT ["sh", "-c", "\\"$@\\"; true", "sh"]'),
        apart="commands that fail seem to succeed",
    ),
    Mutation(
        "output is buffered",
        f"{RUNS}test_unbuffered_output",
        "the output is held in a buffer",
        at_end("runtime", "ENV PYTHONUNBUFFERED="),
    ),
    Mutation(
        "the code can only be imported in its own folder",
        f"{RUNS}test_code_imports",
        "AttributeError: 'NoneType' object has no attribute 'origin'",
        as_root(f"RUN rm {SITE}/app_src.pth"),
    ),
    Mutation(
        "the CA bundle is copied into a layer",
        f"{SECRETS}test_no_canary",
        "'/etc/trusted.crt'",
        as_root("RUN --mount=type=secret,id=ca cp /run/secrets/ca /etc/trusted.crt"),
    ),
    Mutation(
        "a netrc is copied, and deleted in the next layer",
        f"{SECRETS}test_no_canary",
        "'/root/netrc'",
        as_root(
            "RUN --mount=type=secret,id=netrc cp /run/secrets/netrc /root/netrc",
            "RUN rm /root/netrc",
        ),
    ),
    Mutation(
        "the environment of the build is kept in a variable",
        f"{SECRETS}test_no_canary",
        "the image's blobs/",
        at_end("runtime", "ARG NO_PROXY", "ENV PROXIES=$NO_PROXY"),
    ),
    Mutation(
        "the project's .env gets in",
        f"{SECRETS}test_no_canary",
        "'/app/src/.env'",
        replace(".dockerignore", "**/.env*\n"),
    ),
    Mutation(
        "no version",
        f"{LABELS}test_version",
        "assert '' == '",
        replace("Dockerfile", "image.version=$VERSION", "image.version="),
    ),
    Mutation(
        "another stage's history is written over torch's",
        f"{LABELS}test_history",
        "the history says",
        replace(
            "Dockerfile",
            "# ---- venv: what",
            "FROM base AS late\nRUN touch /late\n\n\n# ---- venv: what",
        )
        + at_end("venv", "COPY --from=late /late /late"),
        apart=FROM_BASE,
    ),
    Mutation(
        "the base image's label stays",
        f"{LABELS}test_base",
        "'ubuntu'",
        replace("Dockerfile", "image.ref.name= \\", "image.ref.name=ubuntu \\"),
    ),
    Mutation(
        "a package of apt/runtime.txt is missing",
        f"{FILES}test_apt_packages",
        "not there: [['libsndfile1']]",
        after="echo 'libsndfile1 # for soundfile' >> apt/runtime.txt",
    ),
    Mutation(
        "the image is of another commit",
        f"{LABELS}test_revision",
        "the image is of commit ",
        after="git -c user.name=me -c user.email=me@example.com commit -q --allow-empty -m next",
    ),
    Mutation(
        "the image is of another repository",
        f"{LABELS}test_source",
        "- https://example.com/other.git",
        after="git remote set-url origin https://me:secret@example.com/other.git",
    ),
    Mutation(
        "torch looks for models in a place of its own",
        f"{RUNS}test_cached_models",
        "urlopen error",
        at_end("runtime", "ENV TORCH_HOME=/tmp/torch"),
        real=True,
        apart="other edits say so too",
    ),
    Mutation(
        "torch cannot write its cache",
        f"{RUNS}test_caches",
        "Permission denied: '/app/torch'",
        at_end("runtime", "ENV TORCH_HOME=/app/torch"),
        real=True,
    ),
]

# A mutation for each field of an image's configuration, and what its test must say.
UNKNOWN = {
    "a file in /tmp becomes a module": ("ENV PYTHONPATH=/tmp",),
    "another user's name": ("ENV USER=root",),
    "a volume": ("VOLUME /data",),
    "a port": ("EXPOSE 80/tcp",),
    "a label": ("LABEL mine=1", "LABEL mine"),
    "another stop signal": ("STOPSIGNAL SIGINT",),
    "a health check": ("HEALTHCHECK CMD true", 'HEALTHCHECK {"Test":'),
    "another shell": ('SHELL ["/bin/dash", "-c"]',),
    "a trigger": ("ONBUILD RUN true",),
    "another working directory": ("WORKDIR /tmp",),
}
FIELDS = [
    Mutation(
        broken,
        f"{CONFIGURATION}test_nothing_unknown",
        says[-1],
        at_end("runtime", says[0]),
        apart="other edits depend on the user and the folder",
    )
    for broken, says in UNKNOWN.items()
]
FIELDS += [
    Mutation(
        f"{name} is empty",
        f"{CONFIGURATION}test_nothing_missing",
        f"'ENV {name}={value}'",
        at_end("runtime", f"ENV {name}="),
        apart="other edits depend on the user and the folder",
    )
    for name, value in (
        ("NVIDIA_VISIBLE_DEVICES", "all"),
        ("NVIDIA_DRIVER_CAPABILITIES", "compute,utility"),
        ("LANG", "C.UTF-8"),
    )
]

# A mutation for each file that apt's scripts write: the name of the file, and how it is edited.
WRITTEN = {
    "/var/lib/dpkg/info/tzdata.list": "touch /etc/mine && echo /etc/mine >>",
    "/var/lib/dpkg/diversions": "printf '/etc/a\\n/etc/b\\n:\\n' >>",
    "/var/lib/dpkg/status": "printf '\\nPackage: mine\\nStatus: install ok installed\\n' >>",
    "/var/lib/dpkg/status-old": "echo mine >>",
    "/var/lib/dpkg/statoverride": "echo root root 4755 /etc/nothing >>",
    "/var/lib/dpkg/triggers/File": "echo /etc/mine mine >>",
    "/var/cache/debconf/config.dat": "printf '\\nName: mine/a\\nOwners: mine\\n' >>",
    "/var/cache/debconf/passwords.dat": "echo 1 >>",
    "/var/lib/python/python3.11_installed": "echo 1 >>",
    "/var/log/dpkg.log": "echo 1 >>",
    "/etc/alternatives/awk": "ln -sf /usr/bin/env",
    "/var/lib/dpkg/alternatives/awk": "sed -i s/auto/manual/",
    "/etc/inputrc": "echo >>",
    "/etc/localtime": "ln -sf /etc/passwd",
    "/etc/profile.d/venv.sh": "echo >>",
    "/etc/apt/sources.list.d/mine.list": "echo deb http://example.com/debian/ mine main >>",
    "/etc/apt/sources.list.d/mine.sources": "ln -s /tmp/mine",
    "/usr/bin/python": "ln -sf bash",
    "/usr/local/bin/doctor": "echo >>",
}
STATE = [
    Mutation(
        f"{path} is edited",
        f"{SYSTEM}test_system_files",
        f"{path} is not as apt's scripts write it",
        as_root(f"RUN {edit} {path}"),
        apart="other edits depend on it" if re.search("/bin/|status$|/log/", path) else "",
    )
    for path, edit in WRITTEN.items()
]
STATE += [
    Mutation(
        f"{path} has a line more",
        f"{SYSTEM}test_system_files",
        f"no apt package has {path}",
        as_root(f"RUN echo mine >> {path}"),
    )
    for path in (
        "/etc/passwd",
        "/etc/group",
        "/etc/shadow",
        "/etc/environment",
        "/etc/ld.so.preload",
    )
]
STATE += [
    Mutation(
        f"{path} is a link to {target}",
        f"{SYSTEM}test_system_files",
        says,
        as_root(f"RUN ln -sf {target} {path}"),
        apart="other edits depend on it" if path != "/usr/bin/mine" else "",
    )
    for path, target, says in (
        ("/usr/bin/env", "dash", "/usr/bin/env is not as apt's package has it"),
        ("/bin/sh", "/tmp/sh", "/usr/bin/sh is not as apt's package has it"),
        ("/usr/bin/mine", "/etc/alternatives/../../tmp/mine", "no apt package has /usr/bin/mine"),
    )
]

# For projects that depend on torchvision.
TORCHVISION = [
    Mutation(
        "another version of torchvision",
        f"{BUILD}test_torchvision",
        "'0.15.2+cu118' == ",
        as_root(f"RUN echo '__version__ = \"0.15.2+cu118\"' > {SITE}/torchvision/__init__.py"),
    ),
]

if "\ntorchvision==" in LOCK:
    TORCH += TORCHVISION

# These tests name all that they find, so an image can have several mutations for them.
SEVERAL = {f"{CONFIGURATION}{test}" for test in ("test_nothing_missing", "test_nothing_unknown")}
SEVERAL |= {
    f"{SYSTEM}test_system_files",
    f"{SLIM}test_absent",
    f"{LOCKS}test_installed_packages",
    f"{SECRETS}test_no_canary",
}
STAGES = {"base": BASE, "dev": DEV, "runtime": TORCH + RUNTIME + [*FIELDS, *STATE]}

for stage, more in sample_mutations.STAGES.items():
    STAGES[stage] += more
