# The GPU image. `./crate check --write` makes Dockerfile.cpu from this file: edit only this one.
#
#   docker build .                  runtime: Python, /app/.venv and your code in /app/src
#   docker build --target dev .     dev: the same, with Poetry, a compiler, the tests and a shell
#
#   base ─┬─▶ uv ─┬─▶ tools ─▶ builder ─▶ deps (megabytes) ─▶ checked ─┐
#         │       └─▶ torch-needs ─────────────────────────────────────┼─▶ venv ─▶ runtime, dev
#         └─▶ torch (gigabytes) ─▶ extensions ─────────────────────────┘
#   torch-locks and locks cut the lock files into the parts that these stages install.

# Ubuntu 22.04, Ubuntu 24.04 or Debian 12, or an image made from one of them.
ARG BASE_IMAGE=ubuntu:22.04

# The torch build: the name of a file locks/torch.<build>.txt.
ARG TORCH_BUILD=cu130

# An empty folder, unless you bring torch's wheels: --build-context wheels=FOLDER
FROM scratch AS wheels


# ---- base: Python 3.11 and an empty virtual environment ----
FROM ${BASE_IMAGE} AS base

# For an error message, and for the label in runtime.
ARG BASE_IMAGE
# Scheme and host of a mirror for the base image's apt sources.
ARG APT_MIRROR=
# Ubuntu has no final Python 3.11: https://launchpad.net/~deadsnakes/+archive/ubuntu/ppa has. http is enough,
# since apt checks every file against the key in deadsnakes.asc.
ARG PPA_URL=http://ppa.launchpadcontent.net/deadsnakes/ppa/ubuntu

# The two caches stay after the build, so a changed list downloads only what is new. The bind mount hides
# docker-clean, which would empty them (https://docs.docker.com/reference/dockerfile/#example-cache-apt-packages).
# The build secret `ca` is for an https mirror. apt reads it as another user, hence the mode.
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt,sharing=locked \
    --mount=type=bind,source=torchcrate/stages/apt/keep-cache.conf,target=/etc/apt/apt.conf.d/docker-clean \
    --mount=type=bind,source=torchcrate/stages/apt,target=/mnt/apt \
    --mount=type=bind,source=torchcrate/stages/base/deadsnakes.asc,target=/mnt/deadsnakes.asc \
    --mount=type=bind,source=torchcrate/stages/base/install-python.sh,target=/mnt/install-python.sh \
    --mount=type=secret,id=ca,mode=0444 \
    /mnt/install-python.sh /mnt

# The .pth file lets Python import your code in any folder and without PYTHONPATH
# (https://docs.python.org/3.11/library/site.html). A login shell sets its own PATH, hence the profile.
# finish-tree.sh compiles bytecode and sets all times to 1980-01-01 (315532800), so that the same packages make
# the same layer.
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


# ---- uv: it installs torch, so torch does not wait for Poetry and a compiler ----
FROM base AS uv

RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt,sharing=locked \
    --mount=type=bind,source=torchcrate/stages/apt/keep-cache.conf,target=/etc/apt/apt.conf.d/docker-clean \
    --mount=type=bind,source=torchcrate/stages/apt,target=/mnt/apt \
    --mount=type=secret,id=ca,mode=0444 \
    /mnt/apt/install.sh 'python3.11-venv|python3-pip-whl'

# All programs trust the certificates in this file. The build secret `ca` is mounted over it: a proxy's
# certificate is trusted while a step runs, and is in no layer (https://docs.docker.com/build/building/secrets/).
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt \
    CURL_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt \
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt

# A package index instead of the default one.
ARG INDEX_URL=
ENV PIP_INDEX_URL=$INDEX_URL \
    UV_DEFAULT_INDEX=$INDEX_URL \
    POETRY_PYPI_MIRROR_URL=$INDEX_URL

# A slow mirror needs more than uv's 30 seconds (https://docs.astral.sh/uv/reference/environment/#uv_http_timeout).
ENV UV_HTTP_TIMEOUT=90 \
    PATH=$PATH:/opt/uv/bin
RUN --mount=type=bind,source=torchcrate/stages/uv,target=/mnt/uv \
    --mount=type=bind,source=locks/uv.txt,target=/mnt/uv.txt \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    /mnt/uv/install-uv.sh /mnt/uv.txt


# ---- tools: Poetry ----
FROM uv AS tools

# Poetry has its own environment. install-poetry.sh makes it install into /app/.venv and make no other one.
# Poetry's built-in git ignores the secret `netrc` and the certificates, so it uses the system's git
# (https://python-poetry.org/docs/configuration/#system-git-client).
# A slow mirror needs more than Poetry's 15 seconds and no retry.
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

# Your two lists: packages to build with, and packages for run time. dev needs both here, since it takes apt's
# database from this stage.
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt,sharing=locked \
    --mount=type=bind,source=torchcrate/stages/apt/keep-cache.conf,target=/etc/apt/apt.conf.d/docker-clean \
    --mount=type=bind,source=torchcrate/stages/apt,target=/mnt/apt \
    --mount=type=secret,id=ca,mode=0444 \
    --mount=type=bind,source=apt/builder.txt,target=/mnt/builder.txt \
    --mount=type=bind,source=apt/runtime.txt,target=/mnt/runtime.txt \
    /mnt/apt/install.sh /mnt/builder.txt /mnt/runtime.txt


# ---- torch-locks: which torch, and what it needs ----
# A stage mounts only the parts that it installs or checks, and runs again only when one of them changes.
# From base, so that torch does not wait for Poetry and a compiler.
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

# Groups of pyproject.toml for runtime and dev, more groups for dev, and extras, separated by commas.
ARG DEPENDENCY_GROUPS=main
ARG DEV_GROUPS=dev
ARG EXTRAS=
RUN --mount=type=bind,source=torchcrate/stages/locks,target=/mnt/locks \
    --mount=type=bind,source=pyproject.toml,target=/mnt/project/pyproject.toml \
    --mount=type=bind,source=poetry.lock,target=/mnt/project/poetry.lock \
    $POETRY_HOME/venv/bin/python /mnt/locks/split_locks.py poetry /mnt/project /locks \
        --groups "$DEPENDENCY_GROUPS" --dev-groups "$DEV_GROUPS" --extras "$EXTRAS"


# ---- torch-needs: the other packages that torch needs, such as sympy ----
# A few tens of megabytes that change with torch. No cache: uv checks the hash of what it downloads, not of
# what it has unpacked in its cache.
FROM uv AS torch-needs

RUN --mount=type=bind,from=torch-locks,source=/locks/torch-needs.txt,target=/mnt/torch-needs.txt \
    --mount=type=bind,source=torchcrate/stages/base/finish-tree.sh,target=/mnt/finish-tree.sh \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    uv pip install --no-cache --no-deps --require-hashes --requirement /mnt/torch-needs.txt \
    && /mnt/finish-tree.sh /layer


# ---- deps: your other dependencies ----
FROM builder AS deps

# Path dependencies are in packages/. A build may write beside their sources (rw); nothing of that is kept.
# install.options has the groups, such as --only=main. Your code is copied later, hence --no-root.
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


# ---- torch: torch, its sisters and its CUDA packages ----
# A RUN right on base, not a copy from the builder. So torch's gigabytes are written once, and runtime and
# dev share the layer.
FROM base AS torch

ARG TORCH_BUILD
# `yes` leaves out the files that torchcrate/stages/torch/prune.txt lists. `no` keeps them.
ARG PRUNE=yes
# The cache keeps the wheels, not their contents.
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


# ---- torch-seen: what the next stages read of torch ----
# BuildKit reads everything that a step mounts, to see whether it changed. With torch, that is gigabytes.
# So /torch is empty unless a package is compiled against torch.
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


# ---- checked: do the packages fit together? They come from different locks ----
# This stage reads torch's metadata from a layer that is not on torch's layer. So a machine with a registry's
# cache does not download torch to check it.
# From scratch: if two stages start from the same stage, BuildKit gives both layers the later one's history,
# and torch's layer would get another history (tests/image/runtime/test_labels.py checks it). For the same
# reason torch is the last stage from base.
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


# ---- venv: what runtime and dev share ----
FROM torch AS venv

# Your list of system packages, such as libgl1 for OpenCV, and the command `doctor`, which says what the
# image can do on a machine.
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
# Your dependencies in the eight layers that split_layers.py makes, large packages first, so that a new package
# changes one layer. From `checked`, so that no image is made if the check fails.
# --link: a layer with the same files stays the same when a layer below it changes
# (https://docs.docker.com/reference/dockerfile/#copy---link).
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

# The builder is copied here, since torch copied into the builder would be written a second time. It replaces
# apt's database too. That is right: the builder also has the packages of apt/runtime.txt.
# hadolint ignore=DL3067
COPY --link --from=builder / /
# As in uv and tools: the reasons are there.
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

# From here on Poetry does not touch torch, and any user may install other packages.
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

# torch, triton and matplotlib write caches below HOME. /tmp works for any user, and with a read-only root if
# it is a tmpfs.
ENV HOME=/tmp
# Not in Dockerfile.cpu. For container runtimes that read these variables instead of `docker run --gpus`: all GPUs
# (https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html).
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

# Your code is the last layer: an edit rebuilds and pushes nothing else.
COPY --link src /app/src

# These replace the base image's labels (https://github.com/opencontainers/image-spec/blob/main/annotations.md).
# buildx adds revision and source, with BUILDX_GIT_LABELS=full in the environment.
ARG VERSION=
LABEL org.opencontainers.image.base.name=$BASE_IMAGE \
      org.opencontainers.image.ref.name= \
      org.opencontainers.image.version=$VERSION

# A number: Kubernetes sees that it is not root (runAsNonRoot). No base image has this user, so it owns
# nothing. No entrypoint, so `docker run IMAGE COMMAND` runs that command.
USER 10001:10001
ENTRYPOINT []
CMD ["python", "-m", "digits"]
