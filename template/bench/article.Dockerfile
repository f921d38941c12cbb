# The article's image: one stage, Poetry for the dependencies and pip for torch, code last. Changed
# only so that it builds today on the benchmark's base image: Python 3.11 comes from that image's
# apt archive, Poetry from the package index, and no ENV line ends with a comment.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}

ARG DEBIAN_FRONTEND=noninteractive
ARG INDEX_URL=
ENV PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=on \
    PIP_INDEX_URL=$INDEX_URL \
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt \
    POETRY_PYPI_MIRROR_URL=$INDEX_URL \
    POETRY_HOME=/opt/poetry \
    POETRY_NO_INTERACTION=1 \
    POETRY_VIRTUALENVS_CREATE=false \
    VENV_PATH=/app/.venv

RUN --mount=type=cache,id=apt-build,target=/var/cache/apt \
    apt-get update && \
    apt-get install -y --no-install-recommends \
        build-essential ca-certificates curl python3-pip python3.11 python3.11-dev python3.11-venv && \
    rm -rf /var/lib/apt/lists/* && \
    update-alternatives --install /usr/bin/python python /usr/bin/python3.11 1

ENV PATH=$POETRY_HOME/bin:$VENV_PATH/bin:$PATH

ARG POETRY
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    python -m venv $POETRY_HOME/venv && $POETRY_HOME/venv/bin/pip install --no-cache-dir $POETRY && \
    mkdir $POETRY_HOME/bin && ln -s ../venv/bin/poetry $POETRY_HOME/bin

RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    python -m venv $VENV_PATH && $VENV_PATH/bin/python -m pip install --upgrade pip

WORKDIR /app
COPY poetry.lock pyproject.toml /app/

ARG TORCH
RUN --mount=type=cache,target=/root/.cache \
    --mount=type=bind,from=wheels,target=/mnt/wheels \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    poetry install --no-root --without dev && \
    $VENV_PATH/bin/pip install --find-links /mnt/wheels $TORCH

COPY ./ /source/
ENV PYTHONPATH=/source/src
ENTRYPOINT ["/bin/bash"]
