"""What of an image mutations break: instructions, fields and files, each with its mutations.

A sentence in place of names says why there is none. unit/test_mutations.py checks that nothing is
left out.
"""

NO_LAYER = "no file of this stage is in an image but by the COPY or the mount of another one"
ARGUMENT = "an argument alone changes nothing; the instructions that read it are broken below"
PARENT = "another parent is another image: test_history, test_absent and test_torch_layer hold it"

# {stage and instruction of Dockerfile: mutations}
INSTRUCTIONS = {
    " ARG": ARGUMENT,
    "wheels FROM": "the lock's hashes decide about what is in it: builds/test_bad_input.py",
    "base FROM": ("the base image's label stays",),
    "base ARG": ARGUMENT,
    "base RUN": ("apt installs a package that nothing needs", "the venv has no python3"),
    "base ENV": ("the venv is not on PATH", "text is not UTF-8"),
    "base WORKDIR": ("another working directory",),
    "tools FROM": NO_LAYER,
    "tools ARG": ARGUMENT,
    "tools ENV": NO_LAYER,
    "tools RUN": NO_LAYER,
    "locks FROM": NO_LAYER,
    "locks ARG": ARGUMENT,
    "locks RUN": ("the dev group in runtime", "your project's own version is not there"),
    "settled FROM": NO_LAYER,
    "settled RUN": ("packages are divided among layers by kind of file",),
    "sources FROM": NO_LAYER,
    "sources RUN": ("a layer of dependencies is not copied",),
    "builder FROM": NO_LAYER,
    "builder ENV": ("another Poetry",),
    "builder RUN": ("no compiler", "Poetry may make environments"),
    "torch FROM": PARENT,
    "torch ARG": ("nothing is pruned",),
    "torch RUN": ("nothing is pruned", "another build of torch", "a CUDA package is missing"),
    "extensions FROM": PARENT,
    "extensions ARG": ARGUMENT,
    "extensions RUN": "the stubs have no extension: builds/test_extensions.py compiles one",
    "new FROM": NO_LAYER,
    "new COPY": "what it checks has tests of its own: unit/test_check_trees.py",
    "new ARG": ARGUMENT,
    "new RUN": ("the dev group in runtime",),
    "code FROM": NO_LAYER,
    "code COPY": ("your project's own version is not there", "a stray file beside the code"),
    "code RUN": ("the user owns the code", "the code has the time of the build"),
    "venv FROM": PARENT,
    "venv RUN": ("a package of apt/runtime.txt is missing", "/usr/local/bin/doctor is edited"),
    "venv COPY": ("a layer of dependencies is not copied",),
    "venv ENTRYPOINT": ("the entrypoint is a shell, as in the article",),
    "dev FROM": PARENT,
    "dev COPY": ("pyproject.toml is not the one that was locked", "a dependency is missing"),
    "dev ENV": ("Poetry uses /app/.venv only if VIRTUAL_ENV says so",),
    "dev ARG": ARGUMENT,
    "dev RUN": ("the dev group is missing", "only root may write to the environment"),
    "dev CMD": ("the image starts Python, not a shell",),
    "runtime FROM": PARENT,
    "runtime ENV": ("HOME is root's", "NVIDIA_VISIBLE_DEVICES is empty"),
    "runtime COPY": ("your project's own version is not there",),
    "runtime ARG": ARGUMENT,
    "runtime LABEL": ("no version", "the base image's label stays"),
    "runtime USER": ("no USER",),
    "runtime CMD": ("another default command",),
}

# {field of https://github.com/opencontainers/image-spec/blob/main/config.md: mutations}
FIELDS = {
    "User": ("no USER",),
    "ExposedPorts": ("a port",),
    "Env": ("a file in /tmp becomes a module", "LANG is empty"),
    "Entrypoint": ("the entrypoint is a shell, as in the article",),
    "Cmd": ("another default command",),
    "Volumes": ("a volume",),
    "WorkingDir": ("another working directory",),
    "Labels": ("a label", "no version"),
    "StopSignal": ("another stop signal",),
    "Healthcheck": ("a health check",),
    "Shell": ("another shell",),
    "OnBuild": ("a trigger",),
    "history": (
        "another stage's history is written over torch's",
        "the environment of the build is kept in a variable",
    ),
    "architecture": "BuildKit writes it; by it the contract knows which wheels belong here",
    "created": "the time of the build, which nothing depends on",
}

# {rule of torchcrate/testing/system.py without a mutation: why}
UNSEEN = {
    r"var/lib/dpkg/info/[^/]+\.\w+": "scripts that run at install: only the package's name is held",
    r"etc/apt/sources\.list\.d/deadsnakes\.sources": "on Ubuntu",
}
