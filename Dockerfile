# The GPU image. Dockerfile.cpu is made from this file by `./crate check --write`: edit only this one.
#
#   docker build .                  runtime: Python, /app/.venv and your code in /app/src
#   docker build --target dev .     the same torch with Poetry, a compiler, the tests and a shell
#
#   base ─┬─▶ uv ─┬─▶ tools ─▶ builder ─▶ deps (megabytes) ─▶ checked ─┐
#         │       └─▶ torch-needs ─────────────────────────────────────┼─▶ venv ─▶ runtime, dev
#         └─▶ torch (gigabytes) ─▶ extensions ─────────────────────────┘
#   What is installed they read from torch-locks, beside uv, and locks, beside builder.

# Ubuntu 22.04, Ubuntu 24.04 or Debian 12, or an image made from one of them.
ARG BASE_IMAGE=ubuntu:22.04

# Which torch: the name of a file locks/torch.<build>.txt.
ARG TORCH_BUILD=cu130

# An empty folder, unless you hand in torch's wheels: --build-context wheels=FOLDER
FROM scratch AS wheels


# ---- base: Python 3.11 and an empty virtual environment ----
FROM ${BASE_IMAGE} AS base

# For the error message that names it.
ARG BASE_IMAGE
# Scheme and host of a mirror, where the base image's own apt sources are out of reach.
ARG APT_MIRROR=
ARG PPA_URL=http://ppa.launchpadcontent.net/deadsnakes/ppa/ubuntu

# Both caches outlive the build: a changed package list downloads only what is new. Locked, since
# apt cannot share them. The third mount hides docker-clean, which would empty them. Build secret
# `ca` (see tools) is for an https mirror; apt reads it as a user of its own.
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt,sharing=locked \
    --mount=type=bind,source=torchcrate/stages/apt/keep-cache.conf,target=/etc/apt/apt.conf.d/docker-clean \
    --mount=type=bind,source=torchcrate/stages/apt,target=/mnt/apt \
    --mount=type=bind,source=torchcrate/stages/base/deadsnakes.asc,target=/mnt/deadsnakes.asc \
    --mount=type=bind,source=torchcrate/stages/base/install-python.sh,target=/mnt/install-python.sh \
    --mount=type=secret,id=ca,mode=0444 \
    /mnt/install-python.sh /mnt

# The .pth file makes your code importable for whatever Python starts, in any folder and with any
# environment. A login shell sets a PATH of its own, hence the profile.
ENV VIRTUAL_ENV=/app/.venv
RUN --mount=type=bind,source=torchcrate/stages/base/finish-tree.sh,target=/mnt/finish-tree.sh \
    python3.11 -m venv --without-pip $VIRTUAL_ENV \
    && echo /app/src > $VIRTUAL_ENV/lib/python3.11/site-packages/app_src.pth \
    && echo "PATH=$VIRTUAL_ENV/bin:\$PATH" > /etc/profile.d/venv.sh \
    && touch --date=@315532800 /etc/profile.d/venv.sh /etc/profile.d \
    && /mnt/finish-tree.sh

ENV PATH=$VIRTUAL_ENV/bin:$PATH \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1
WORKDIR /app


# ---- uv: it installs torch, which is why it has a stage of its own ----
FROM base AS uv

RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt,sharing=locked \
    --mount=type=bind,source=torchcrate/stages/apt/keep-cache.conf,target=/etc/apt/apt.conf.d/docker-clean \
    --mount=type=bind,source=torchcrate/stages/apt,target=/mnt/apt \
    --mount=type=secret,id=ca,mode=0444 \
    /mnt/apt/install.sh 'python3.11-venv|python3-pip-whl'

# Whatever talks TLS trusts this one file. Build secret `ca` is mounted over it, so the certificate
# of a proxy is trusted while a step runs and is in no layer.
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt \
    CURL_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt \
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt

# A package index to use in place of the default one.
ARG INDEX_URL=
ENV PIP_INDEX_URL=$INDEX_URL \
    UV_DEFAULT_INDEX=$INDEX_URL \
    POETRY_PYPI_MIRROR_URL=$INDEX_URL

# A mirror may stall for longer than uv waits.
ENV UV_HTTP_TIMEOUT=90 \
    PATH=$PATH:/opt/uv/bin
RUN --mount=type=bind,source=torchcrate/stages/uv,target=/mnt/uv \
    --mount=type=bind,source=locks/uv.txt,target=/mnt/uv.txt \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    /mnt/uv/install-uv.sh /mnt/uv.txt


# ---- tools: Poetry ----
FROM uv AS tools

# Poetry lives apart from your packages. It makes no environment and installs into /app/.venv,
# which torchcrate/stages/tools/install-poetry.sh sees to. Git itself minds build secret `netrc` and the
# certificates, which the git that Poetry has built in does not.
# A mirror may stall for longer than the 15 seconds after which Poetry, without a retry, gives up.
ENV POETRY_HOME=/opt/poetry \
    POETRY_NO_INTERACTION=1 \
    POETRY_SYSTEM_GIT_CLIENT=true \
    POETRY_REQUESTS_TIMEOUT=90 \
    POETRY_REQUESTS_MAX_RETRIES=3

RUN --mount=type=bind,source=torchcrate/stages/tools,target=/mnt/tools \
    --mount=type=bind,source=locks/poetry.txt,target=/mnt/poetry.txt \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    /mnt/tools/install-poetry.sh /mnt/poetry.txt


# ---- builder: compiler and headers ----
FROM tools AS builder

# Your lists: what builds need, and what is needed at run time too.
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt,sharing=locked \
    --mount=type=bind,source=torchcrate/stages/apt/keep-cache.conf,target=/etc/apt/apt.conf.d/docker-clean \
    --mount=type=bind,source=torchcrate/stages/apt,target=/mnt/apt \
    --mount=type=secret,id=ca,mode=0444 \
    --mount=type=bind,source=apt/builder.txt,target=/mnt/builder.txt \
    --mount=type=bind,source=apt/runtime.txt,target=/mnt/runtime.txt \
    /mnt/apt/install.sh /mnt/builder.txt /mnt/runtime.txt


# ---- torch-locks: which torch, and what it needs ----
# The locks in parts, each mounted by a stage that runs again when its part has changed, not whenever
# this one has. On base, so that torch waits for neither Poetry nor a compiler.
FROM base AS torch-locks

ARG TORCH_BUILD
ARG INDEX_URL=
ARG TORCH_INDEX_URL=
RUN --mount=type=bind,source=torchcrate/stages/locks,target=/mnt/locks \
    --mount=type=bind,source=pyproject.toml,target=/mnt/project/pyproject.toml \
    --mount=type=bind,source=poetry.lock,target=/mnt/project/poetry.lock \
    --mount=type=bind,source=locks,target=/mnt/project/locks \
    python3.11 -B /mnt/locks/split_locks.py torch /mnt/project /locks \
        --build "$TORCH_BUILD" --index-url "$INDEX_URL" --torch-index-url "$TORCH_INDEX_URL"


# ---- locks: what Poetry installs ----
FROM tools AS locks

# Which groups of pyproject.toml `runtime` and `dev` get, which more `dev` does, and which extras.
# Lists with commas.
ARG DEPENDENCY_GROUPS=main
ARG DEV_GROUPS=dev
ARG EXTRAS=
RUN --mount=type=bind,source=torchcrate/stages/locks,target=/mnt/locks \
    --mount=type=bind,source=pyproject.toml,target=/mnt/project/pyproject.toml \
    --mount=type=bind,source=poetry.lock,target=/mnt/project/poetry.lock \
    $POETRY_HOME/venv/bin/python /mnt/locks/split_locks.py poetry /mnt/project /locks \
        --groups "$DEPENDENCY_GROUPS" --dev-groups "$DEV_GROUPS" --extras "$EXTRAS"


# ---- torch-needs: what torch needs beside its family, such as sympy ----
# A few tens of megabytes, which change with torch and seldom else. --no-cache: what uv has unpacked
# once it does not check against the digests again.
FROM uv AS torch-needs

RUN --mount=type=bind,from=torch-locks,source=/locks/torch-needs.txt,target=/mnt/torch-needs.txt \
    --mount=type=bind,source=torchcrate/stages/base/finish-tree.sh,target=/mnt/finish-tree.sh \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    uv pip install --no-cache --no-deps --require-hashes --requirement /mnt/torch-needs.txt \
    && /mnt/finish-tree.sh /layer


# ---- deps: your other dependencies ----
FROM builder AS deps

# Path dependencies lie in packages; a build may write beside their sources, which nobody keeps.
RUN --mount=type=bind,from=locks,source=/locks/poetry,target=/mnt/project \
    --mount=type=bind,source=packages,target=/mnt/project/packages,rw \
    --mount=type=bind,source=torchcrate/stages/base/finish-tree.sh,target=/mnt/finish-tree.sh \
    --mount=type=bind,source=torchcrate/stages/deps,target=/mnt/deps \
    --mount=type=cache,target=/root/.cache \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    xargs poetry install --directory /mnt/project --no-root < /mnt/project/install.options \
    && /mnt/finish-tree.sh \
    && python3.11 -B /mnt/deps/split_layers.py $VIRTUAL_ENV /layers


# ---- torch: the torch family ----
# A layer right on base, not a copy out of the builder: torch's gigabytes are written once, and
# runtime and dev share them.
FROM base AS torch

ARG TORCH_BUILD
# `yes` leaves out what torchcrate/stages/torch/prune.txt lists, `no` nothing.
ARG PRUNE=yes
# The cache keeps the wheels, not what is in them.
RUN --mount=type=bind,from=torch-locks,source=/locks/torch.txt,target=/mnt/torch.txt \
    --mount=type=bind,from=uv,source=/opt/uv/bin/uv,target=/mnt/uv \
    --mount=type=bind,from=uv,source=/opt/uv/pip.whl,target=/mnt/pip.whl \
    --mount=type=bind,from=wheels,target=/mnt/wheels \
    --mount=type=bind,source=torchcrate/stages/torch/install-torch.sh,target=/mnt/install-torch.sh \
    --mount=type=bind,source=torchcrate/stages/torch/prune.txt,target=/mnt/prune.txt \
    --mount=type=bind,source=torchcrate/stages/base/finish-tree.sh,target=/mnt/finish-tree.sh \
    --mount=type=cache,id=torch-wheels-$TORCH_BUILD,target=/mnt/cache,sharing=locked \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=secret,id=netrc,target=/mnt/netrc \
    /mnt/install-torch.sh /mnt && /mnt/finish-tree.sh


# ---- torch-seen: what the next stages look at ----
# BuildKit reads all of what a step mounts, to know whether it has changed; of torch that would be
# gigabytes. So torch is there to be mounted only if something is compiled against it.
FROM torch AS torch-seen

RUN --mount=type=bind,from=torch-locks,source=/locks/extensions,target=/mnt/locks \
    mkdir /metadata && cp -r $VIRTUAL_ENV/lib/python3.11/site-packages/*.dist-info /metadata \
    && if [ -s /mnt/locks/extensions.txt ]; then ln -s $VIRTUAL_ENV /torch; else mkdir /torch; fi


# ---- extensions: your dependencies that are compiled against torch ----
# Nothing, unless pyproject.toml has a group torch-extensions.
FROM builder AS extensions

RUN --mount=type=bind,from=torch-locks,source=/locks/extensions,target=/mnt/locks \
    --mount=type=bind,from=torch-seen,source=/torch,target=/mnt/torch \
    --mount=type=bind,source=packages,target=/mnt/packages,rw \
    --mount=type=bind,source=torchcrate/stages/extensions,target=/mnt/extensions \
    --mount=type=bind,source=torchcrate/stages/base/finish-tree.sh,target=/mnt/finish-tree.sh \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    /mnt/extensions/build-extensions.sh /mnt && /mnt/finish-tree.sh /layer


# ---- checked: do the trees fit? They come from different locks ----
# Of torch this takes its metadata alone, in a layer that does not stand on torch's: a machine that
# has all of it in a registry's cache need not download torch to look at it.
# From scratch: of stages from one stage BuildKit writes the history of the later over that of the
# earlier, which from base would be torch's. For that reason, too, torch comes after what else is
# from base, and venv after torch-seen.
FROM scratch AS torch-metadata

COPY --from=torch-seen /metadata /metadata

FROM deps AS checked

ARG TORCH_BUILD

RUN --mount=type=bind,from=torch-locks,source=/locks/torch.txt,target=/mnt/torch.txt \
    --mount=type=bind,from=torch-metadata,source=/metadata,target=/mnt/torch \
    --mount=type=bind,from=torch-needs,source=/app/.venv/lib/python3.11/site-packages,target=/mnt/torch-needs \
    --mount=type=bind,from=extensions,source=/app/.venv/lib/python3.11/site-packages,target=/mnt/extensions \
    --mount=type=bind,source=torchcrate/stages/deps,target=/mnt/deps \
    $POETRY_HOME/venv/bin/python -B /mnt/deps/check_trees.py /mnt/torch.txt \
        $VIRTUAL_ENV/lib/python3.11/site-packages /mnt/torch /mnt/torch-needs /mnt/extensions


# ---- venv: what runtime and dev have in common ----
FROM torch AS venv

# Your list of what apt brings at run time, such as libgl1 for OpenCV. Empty, it installs nothing.
# And the command `doctor`, which says what this image can do on a machine.
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt,sharing=locked \
    --mount=type=bind,source=torchcrate/stages/apt/keep-cache.conf,target=/etc/apt/apt.conf.d/docker-clean \
    --mount=type=bind,source=torchcrate/stages/apt,target=/mnt/apt \
    --mount=type=bind,source=apt/runtime.txt,target=/mnt/packages.txt \
    --mount=type=bind,source=torchcrate/doctor.py,target=/mnt/doctor.py \
    --mount=type=secret,id=ca,mode=0444 \
    install -m 755 /mnt/doctor.py /usr/local/bin/doctor \
    && touch --date=@315532800 /usr/local/bin /usr/local/bin/doctor \
    && /mnt/apt/install.sh /mnt/packages.txt

COPY --link --from=torch-needs /layer /
# Your dependencies, large packages first, divided so that an edit pushes and pulls those near it
# alone. --link: a layer whose files are the same stays, whatever is below.
COPY --link --from=checked /layers/1 /
COPY --link --from=checked /layers/2 /
COPY --link --from=checked /layers/3 /
COPY --link --from=checked /layers/4 /
COPY --link --from=checked /layers/5 /
COPY --link --from=checked /layers/6 /
COPY --link --from=checked /layers/7 /
COPY --link --from=checked /layers/8 /
COPY --link --from=extensions /layer /


# ---- dev: the builder's tools and the dev group on top ----
FROM venv AS dev

# This way round, since torch copied into the builder would be written a second time. The builder
# is base with more in it, so that copying all of it over base is safe.
# hadolint ignore=DL3067
COPY --link --from=builder / /
# As in uv and tools, which say why.
ENV POETRY_HOME=/opt/poetry \
    POETRY_NO_INTERACTION=1 \
    POETRY_SYSTEM_GIT_CLIENT=true \
    POETRY_REQUESTS_TIMEOUT=90 \
    POETRY_REQUESTS_MAX_RETRIES=3 \
    UV_HTTP_TIMEOUT=90 \
    PATH=$PATH:/opt/uv/bin \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt \
    CURL_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt \
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt

ARG INDEX_URL=
RUN --mount=type=bind,from=locks,source=/locks/poetry,target=/mnt/project \
    --mount=type=bind,from=torch-locks,source=/locks/torch.txt,target=/mnt/torch.txt \
    --mount=type=bind,source=packages,target=/mnt/project/packages,rw \
    --mount=type=bind,source=torchcrate/stages/deps,target=/mnt/deps \
    --mount=type=cache,target=/root/.cache \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    POETRY_PYPI_MIRROR_URL=$INDEX_URL \
    xargs poetry install --directory /mnt/project --no-root < /mnt/project/install-dev.options \
    && rm -rf $VIRTUAL_ENV/src \
    && $POETRY_HOME/venv/bin/python -B /mnt/deps/check_trees.py /mnt/torch.txt \
        $VIRTUAL_ENV/lib/python3.11/site-packages

# From here on Poetry leaves torch as it is, and any user may install the rest.
ARG TORCH_BUILD
RUN --mount=type=bind,source=torchcrate/stages/dev,target=/mnt/dev \
    --mount=type=bind,source=torchcrate/stages/locks/split_locks.py,target=/mnt/split_locks.py \
    --mount=type=bind,source=torchcrate/stages/torch/prune.txt,target=/mnt/prune.txt \
    --mount=type=bind,source=locks/torch.${TORCH_BUILD}.txt,target=/mnt/torch.txt \
    /mnt/dev/hold-torch.sh /mnt src

COPY pyproject.toml poetry.lock ./
COPY src src
COPY tests tests

ENV HOME=/tmp
ENTRYPOINT []
CMD ["bash"]


# ---- runtime: what you ship ----
FROM venv AS runtime

# Caches of torch, triton, matplotlib and the like land below HOME: for any user, also one without
# a passwd entry, and with a read-only root if /tmp is a tmpfs.
ENV HOME=/tmp
# GPU only: what a container runtime needs to be told where `docker run --gpus` does not tell it.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

# Your code comes last: an edit rebuilds and pushes nothing else.
COPY --link src /app/src

# Over what the base image says of itself. Revision and source come from buildx (BUILDX_GIT_LABELS).
ARG VERSION=
LABEL org.opencontainers.image.base.name=$BASE_IMAGE \
      org.opencontainers.image.ref.name= \
      org.opencontainers.image.version=$VERSION

# A number, for Kubernetes to see that it is not root; one that no base image has, so that it owns
# nothing. No entrypoint, not the base image's either: what you give to `docker run` is what runs.
USER 10001:10001
ENTRYPOINT []
CMD ["python", "-m", "digits"]
