# The GPU image. `./crate check --write` makes Dockerfile.cpu from this file: edit only this one.
#
#   docker build .                  runtime: Python, /app/.venv and your code in /app/src
#   docker build --target dev .     dev: the same, with Poetry, a compiler, the tests and a shell
#
#   base ─┬─▶ tools ─▶ settled, sources, new (megabytes) ─┬─▶ venv ─▶ runtime, dev
#         └─▶ torch (gigabytes) ─▶ extensions ────────────┘
#   locks cuts the lock files into the parts that these stages install. code is your code. builder is for dev.

# Ubuntu 22.04, Ubuntu 24.04 or Debian 12, or an image made from one of them.
ARG BASE_IMAGE=ubuntu:22.04

# The torch build: the name of a file locks/torch.<build>.txt.
ARG TORCH_BUILD=cu130

# A package index instead of the default one.
ARG INDEX_URL=

# An empty folder, unless you bring torch's wheels: --build-context wheels=FOLDER
FROM scratch AS wheels


# ---- base: Python 3.11 and an empty virtual environment ----
FROM ${BASE_IMAGE} AS base

ARG BASE_IMAGE
# Scheme and host of a mirror for the base image's apt sources.
ARG APT_MIRROR=
# Ubuntu has no final Python 3.11: https://launchpad.net/~deadsnakes/+archive/ubuntu/ppa has. http is enough:
# apt checks all files against the key in deadsnakes.asc.
ARG PPA_URL=http://ppa.launchpadcontent.net/deadsnakes/ppa/ubuntu

# The cache keeps the packages that apt downloads. The build secret `ca` is for a proxy that re-signs TLS
# (https://docs.docker.com/build/building/secrets/); apt reads it as another user.
RUN --mount=type=cache,id=apt,target=/mnt/cache,sharing=locked \
    --mount=type=bind,source=torchcrate/stages/apt,target=/mnt/apt \
    --mount=type=secret,id=ca,mode=0444 \
    --mount=type=bind,source=torchcrate/stages/base,target=/mnt/base \
    /mnt/base/install-python.sh

# With the .pth file Python finds your code in any folder (https://docs.python.org/3.11/library/site.html). A login
# shell sets its own PATH, hence the profile. finish_tree.py compiles bytecode and sets all times to 1980-01-01
# (315532800), so that the same packages make the same layer.
ENV VIRTUAL_ENV=/app/.venv
RUN --network=none --mount=type=bind,source=torchcrate/stages/install/finish_tree.py,target=/mnt/finish_tree.py \
    python3.11 -m venv --without-pip $VIRTUAL_ENV \
    && echo /app/src > $VIRTUAL_ENV/lib/python3.11/site-packages/app_src.pth \
    && echo "PATH=$VIRTUAL_ENV/bin:\$PATH" > /etc/profile.d/venv.sh \
    && touch --date=@315532800 /etc/profile.d/venv.sh /etc/profile.d \
    && python3.11 -B /mnt/finish_tree.py
ENV PATH=$VIRTUAL_ENV/bin:$PATH LANG=C.UTF-8 PYTHONUNBUFFERED=1
WORKDIR /app


# ---- tools: uv, which installs packages ----
FROM base AS tools

ARG INDEX_URL
ENV INDEX_URL=$INDEX_URL PATH=$PATH:/opt/uv/bin
RUN --mount=type=cache,id=apt,target=/mnt/cache,sharing=locked \
    --mount=type=bind,source=torchcrate/stages/apt,target=/mnt/apt \
    --mount=type=bind,source=torchcrate/stages/install,target=/mnt/install \
    --mount=type=bind,source=locks/uv.txt,target=/mnt/uv.txt \
    --mount=type=cache,id=wheels,target=/mnt/wheels \
    --mount=type=secret,id=ca,mode=0444 \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    /mnt/install/uv.sh /mnt/uv.txt


# ---- locks: which packages, and in which stage ----
# A stage mounts only the part that it installs, and runs again only when that changes.
FROM tools AS locks

ARG TORCH_BUILD
# Groups of pyproject.toml for runtime and dev, more groups for dev, and extras, separated by commas.
ARG DEPENDENCY_GROUPS=main
ARG DEV_GROUPS=dev
ARG EXTRAS=
ARG TORCH_INDEX_URL=
RUN --network=none --mount=type=bind,source=torchcrate/stages/locks,target=/mnt/locks \
    --mount=type=bind,source=pyproject.toml,target=/mnt/project/pyproject.toml \
    --mount=type=bind,source=poetry.lock,target=/mnt/project/poetry.lock \
    --mount=type=bind,source=locks,target=/mnt/project/locks \
    export PYTHONPATH=/opt/uv \
    && python3.11 -B /mnt/locks/split_locks.py /mnt/project /locks \
        --build "$TORCH_BUILD" --index-url "$INDEX_URL" --torch-index-url "$TORCH_INDEX_URL" \
        --groups "$DEPENDENCY_GROUPS" --dev-groups "$DEV_GROUPS" --extras "$EXTRAS" \
    && python3.11 -B /mnt/locks/dist_info.py /mnt/project/pyproject.toml /locks/project


# ---- settled: the dependencies in locks/settled.txt, which is most of them ----
FROM tools AS settled

# The cache keeps the wheels, not their contents: wheels.sh checks each wheel's hash in each build. The numbers are
# layers for large and for small packages.
RUN --mount=type=bind,from=locks,source=/locks/settled.txt,target=/mnt/settled.txt \
    --mount=type=bind,source=torchcrate/stages/install,target=/mnt/install \
    --mount=type=cache,id=wheels,target=/mnt/cache \
    --mount=type=secret,id=ca,mode=0444 \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    /mnt/install/wheels.sh poetry.lock /mnt/settled.txt 10 4


# ---- sources: the dependencies that have no wheel, or come from git or packages/ ----
# A compiler is installed only if there are any. A build may write beside the sources (rw); that is not kept.
FROM tools AS sources

RUN --mount=type=cache,id=apt,target=/mnt/cache,sharing=locked \
    --mount=type=bind,source=torchcrate/stages/apt,target=/mnt/apt \
    --mount=type=secret,id=ca,mode=0444 \
    --mount=type=bind,source=apt,target=/mnt/lists \
    --mount=type=bind,from=locks,source=/locks/sources.txt,target=/mnt/sources.txt \
    --mount=type=bind,source=packages,target=/mnt/packages,rw \
    --mount=type=bind,source=torchcrate/stages/install,target=/mnt/install \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    /mnt/install/sources.sh /mnt/sources.txt


# ---- builder: Poetry, a compiler and headers ----
FROM tools AS builder

# Poetry has its own environment, installs into /app/.venv and makes no other one. dev takes apt's database from here.
ENV POETRY_HOME=/opt/poetry
RUN --mount=type=cache,id=apt,target=/mnt/cache,sharing=locked \
    --mount=type=bind,source=torchcrate/stages/apt,target=/mnt/apt \
    --mount=type=bind,source=apt,target=/mnt/lists \
    --mount=type=bind,source=torchcrate/stages/install,target=/mnt/install \
    --mount=type=bind,source=locks/poetry.txt,target=/mnt/poetry.txt \
    --mount=type=secret,id=ca,mode=0444 \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    /mnt/apt/install.sh /mnt/lists/builder.txt /mnt/lists/runtime.txt \
    && /mnt/install/poetry.sh /mnt/poetry.txt


# ---- torch: torch, its sisters and its CUDA packages ----
# A RUN right on base, not a copy: torch's gigabytes are written once, and runtime and dev share the layer. It is the
# last stage from base, since BuildKit gives all of them the history of the last one (test_labels.py checks it).
FROM base AS torch

ARG TORCH_BUILD
# `yes` leaves out the files that torchcrate/stages/install/prune.txt lists. `no` keeps them.
ARG PRUNE=yes
RUN --mount=type=bind,from=locks,source=/locks/torch.txt,target=/mnt/torch.txt \
    --mount=type=bind,from=tools,source=/opt/uv,target=/opt/uv \
    --mount=type=bind,from=wheels,target=/mnt/wheels \
    --mount=type=cache,id=torch-wheels-$TORCH_BUILD,target=/mnt/cache,sharing=locked \
    --mount=type=bind,source=torchcrate/stages/install,target=/mnt/install \
    --mount=type=secret,id=ca,mode=0444 \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    /mnt/install/wheels.sh locks/torch.$TORCH_BUILD.txt /mnt/torch.txt \
    && python3.11 -B /mnt/install/finish_tree.py


# ---- extensions: the group torch-extensions, compiled against torch ----
FROM torch AS extensions

ARG INDEX_URL
# GPU generations for CUDA code, such as 8.0;9.0. By default those of torch itself.
ARG TORCH_CUDA_ARCH_LIST=
RUN --mount=type=cache,id=apt,target=/mnt/cache,sharing=locked \
    --mount=type=bind,source=torchcrate/stages/apt,target=/mnt/apt \
    --mount=type=secret,id=ca,mode=0444 \
    --mount=type=bind,source=apt,target=/mnt/lists \
    --mount=type=bind,from=locks,source=/locks/extensions,target=/mnt/extensions \
    --mount=type=bind,from=tools,source=/opt/uv,target=/opt/uv \
    --mount=type=bind,source=packages,target=/mnt/packages,rw \
    --mount=type=bind,source=torchcrate/stages/install,target=/mnt/install \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    /mnt/install/sources.sh /mnt/extensions/extensions.txt /mnt/extensions/build.txt


# ---- new: the few that you added since `./crate lock` wrote settled.txt ----
# Then it checks that all packages fit together: they come from different locks.
FROM tools AS new

# In layers of their own: a machine with a registry's cache checks them without torch and most dependencies.
COPY --from=extensions /metadata/1 /mnt/torch
COPY --from=settled /metadata/1 /mnt/settled
ARG TORCH_BUILD
RUN --mount=type=bind,from=locks,source=/locks/new.txt,target=/mnt/new.txt \
    --mount=type=bind,from=locks,source=/locks/torch.txt,target=/mnt/torch.txt \
    --mount=type=bind,from=sources,source=/metadata/1,target=/mnt/sources \
    --mount=type=bind,source=torchcrate/stages/install,target=/mnt/install \
    --mount=type=cache,id=wheels,target=/mnt/cache \
    --mount=type=secret,id=ca,mode=0444 \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    /mnt/install/wheels.sh poetry.lock /mnt/new.txt 2 1 \
    && PYTHONPATH=/opt/uv python3.11 -B /mnt/install/check_trees.py /mnt/torch.txt \
        /mnt/torch /mnt/settled /metadata/1 /mnt/sources


# ---- code: your project's name, version and commands, and your code ----
# With the time of all other files: the same code makes the same layer in any checkout. COPY sets no time; a step on
# the bare base image needs the least on a machine that has only a registry's cache.
FROM ${BASE_IMAGE} AS code

COPY --from=locks /locks/project /layers/1
COPY src /layers/1/app/src
RUN --network=none find /layers -exec touch --no-dereference --date=@315532800 {} +


# ---- venv: what runtime and dev share ----
FROM torch AS venv

# Your list of system packages, such as libgl1 for OpenCV, and the command `doctor`: what can the image do here?
RUN --mount=type=cache,id=apt,target=/mnt/cache,sharing=locked \
    --mount=type=bind,source=torchcrate/stages/apt,target=/mnt/apt \
    --mount=type=secret,id=ca,mode=0444 \
    --mount=type=bind,source=apt/runtime.txt,target=/mnt/packages.txt \
    --mount=type=bind,source=torchcrate/doctor.py,target=/mnt/doctor.py \
    install -m 755 /mnt/doctor.py /usr/local/bin/doctor \
    && touch --date=@315532800 /usr/local/bin /usr/local/bin/doctor \
    && /mnt/apt/install.sh /mnt/packages.txt

# Your dependencies. A large package has a layer of its own, so that raising pandas pushes pandas alone. --link: a
# layer stays the same when one below it changes (https://docs.docker.com/reference/dockerfile/#copy---link).
COPY --link --from=settled /layers/1 /
COPY --link --from=settled /layers/2 /
COPY --link --from=settled /layers/3 /
COPY --link --from=settled /layers/4 /
COPY --link --from=settled /layers/5 /
COPY --link --from=settled /layers/6 /
COPY --link --from=settled /layers/7 /
COPY --link --from=settled /layers/8 /
COPY --link --from=settled /layers/9 /
COPY --link --from=settled /layers/10 /
COPY --link --from=settled /layers/11 /
COPY --link --from=settled /layers/12 /
COPY --link --from=settled /layers/13 /
COPY --link --from=settled /layers/14 /
COPY --link --from=new /layers/1 /
COPY --link --from=new /layers/2 /
COPY --link --from=new /layers/3 /
COPY --link --from=sources /layers/1 /
COPY --link --from=extensions /layers/1 /
ENTRYPOINT []


# ---- dev: the builder's tools and the dev group on top ----
FROM venv AS dev

# Not the other way round, since torch would be written a second time. This replaces apt's database too.
# hadolint ignore=DL3067
COPY --link --from=builder / /
ENV POETRY_HOME=/opt/poetry PATH=$PATH:/opt/uv/bin PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt CURL_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt \
    REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt

# After hold-torch.sh Poetry does not touch torch, and any user may install other packages.
ARG INDEX_URL
RUN --mount=type=bind,from=locks,source=/locks,target=/mnt/locks \
    --mount=type=bind,source=locks/torch.${TORCH_BUILD}.txt,target=/mnt/torch.txt \
    --mount=type=bind,source=packages,target=/mnt/packages,rw \
    --mount=type=bind,source=torchcrate/stages,target=/mnt/stages \
    --mount=type=cache,id=wheels,target=/mnt/cache \
    --mount=type=secret,id=ca,mode=0444 \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    /mnt/stages/install/wheels.sh poetry.lock /mnt/locks/dev.txt \
    && TREE='' /mnt/stages/install/sources.sh /mnt/locks/dev-sources.txt \
    && cp -r /mnt/locks/project/. / \
    && /mnt/stages/dev/hold-torch.sh /mnt/torch.txt src

COPY pyproject.toml poetry.lock ./
COPY src src
COPY tests tests

ENV HOME=/tmp USER=dev
CMD ["bash"]


# ---- runtime: what you ship ----
FROM venv AS runtime

# torch, triton and matplotlib write caches below HOME. /tmp works for any user. Libraries ask for the user's name
# (Python's getpass), and a uid has none.
ENV HOME=/tmp USER=app
# All GPUs, for container runtimes that read these instead of `--gpus`. Not in Dockerfile.cpu:
# https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

COPY --link --from=code /layers/1 /

# These replace the base image's labels. buildx adds revision and source, with BUILDX_GIT_LABELS=full.
ARG VERSION=
LABEL org.opencontainers.image.base.name=$BASE_IMAGE org.opencontainers.image.ref.name= \
      org.opencontainers.image.version=$VERSION

# A number: Kubernetes sees that it is not root (runAsNonRoot). No base image has this user, so it owns nothing.
USER 10001:10001
CMD ["python", "-m", "digits"]
