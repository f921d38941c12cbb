#!/bin/sh
# hold-torch.sh LOCK CODE: keep torch as it is in `dev`, and let any user install other packages.
#
# LOCK is the torch lock of TORCH_BUILD, CODE the project's folder with the code. Reads
# VIRTUAL_ENV and POETRY_HOME from the environment.
set -eu
lock=$1 code=$2 stages=${0%/*}/..

# The lock, for the Poetry plugin and the doctor.
install -m 644 "$lock" "$VIRTUAL_ENV/torch.$TORCH_BUILD.txt"
mkdir -p /tmp/hold-torch/torchcrate/stages/dev /tmp/hold-torch/torchcrate/stages/locks
cp "$stages/dev/pyproject.toml" /tmp/hold-torch
cp "$stages"/dev/*.py /tmp/hold-torch/torchcrate/stages/dev
cp "$stages/locks/split_locks.py" /tmp/hold-torch/torchcrate/stages/locks
uv pip install --quiet --no-cache --offline --no-deps --no-build-isolation \
    --python "$POETRY_HOME/venv" /tmp/hold-torch
rm -r /tmp/hold-torch

# If the project is mounted at /workspace, its code is imported from there, so that tracebacks and
# breakpoints name the files that you edit. Python reads this file before app_src.pth.
echo "/workspace/$code" > "$VIRTUAL_ENV/lib/python3.11/site-packages/app_dev.pth"

# The user for editors, which give it your uid. Ubuntu 24.04 has another user with uid 1000.
useradd --non-unique --uid 1000 --user-group --create-home --no-log-init --shell /bin/bash dev

# A user who may write to a folder can replace its files. The files themselves do not change: that would
# copy torch's gigabytes into this layer.
find "$VIRTUAL_ENV" -type d -exec chmod a+w {} +
