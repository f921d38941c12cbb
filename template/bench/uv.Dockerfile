# A multi-stage image as in uv's guide, https://docs.astral.sh/uv/guides/integration/docker/: `uv sync`
# with a cache mount and bytecode, first without the code, then with it. A slim stage copies /app.
ARG BASE_IMAGE
FROM ${BASE_IMAGE} AS base
RUN --mount=type=cache,id=apt-build,target=/var/cache/apt \
    apt-get update && \
    apt-get install -y --no-install-recommends ca-certificates python3.11 && \
    rm -rf /var/lib/apt/lists/*

FROM base AS builder
COPY --from=uv uv /bin/
ARG INDEX_URL=
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=0 \
    UV_NO_DEV=1 \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    UV_DEFAULT_INDEX=$INDEX_URL
WORKDIR /app
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=bind,source=uv.lock,target=uv.lock \
    --mount=type=bind,source=pyproject.toml,target=pyproject.toml \
    --mount=type=bind,from=wheels,target=/app/wheels \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    uv sync --locked --no-install-project
COPY . /app
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=bind,from=wheels,target=/app/wheels \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    uv sync --locked

FROM base
RUN groupadd --system --gid 999 nonroot && \
    useradd --system --gid 999 --uid 999 --create-home nonroot
COPY --from=builder --chown=nonroot:nonroot /app /app
ENV PATH=/app/.venv/bin:$PATH
USER nonroot
WORKDIR /app
CMD ["python", "-m", "digits"]
