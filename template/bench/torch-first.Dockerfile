# What a careful engineer writes by hand: torch in a layer of its own, all other dependencies in the next, the code
# last. uv installs from requirements files with hashes, and its cache keeps the unpacked wheels.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
RUN --mount=type=cache,id=apt-build,target=/var/cache/apt \
    apt-get update && \
    apt-get install -y --no-install-recommends ca-certificates python3.11 && \
    rm -rf /var/lib/apt/lists/*
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONPATH=/app/src \
    PYTHONUNBUFFERED=1 \
    VIRTUAL_ENV=/app/.venv
WORKDIR /app

ARG INDEX_URL=
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    UV_COMPILE_BYTECODE=1 \
    UV_DEFAULT_INDEX=$INDEX_URL \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never
RUN --mount=type=bind,from=uv,source=uv,target=/bin/uv \
    --mount=type=bind,source=torch.txt,target=torch.txt \
    --mount=type=bind,from=wheels,target=/mnt/wheels \
    --mount=type=cache,target=/root/.cache/uv \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    uv venv /app/.venv && \
    uv pip install --no-deps --require-hashes --find-links /mnt/wheels --requirement torch.txt
RUN --mount=type=bind,from=uv,source=uv,target=/bin/uv \
    --mount=type=bind,source=requirements.txt,target=requirements.txt \
    --mount=type=cache,target=/root/.cache/uv \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    uv pip install --no-deps --require-hashes --requirement requirements.txt

COPY --link src /app/src
USER 10001
CMD ["python", "-m", "digits"]
