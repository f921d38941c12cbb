#!/bin/sh
# hold-torch.sh DIR CODE: keep torch as it is in `dev`, let any user install what else there is.
#
# DIR holds dev (the folder of this script), split_locks.py, prune.txt and torch.txt, the torch lock of
# the build that TORCH_BUILD names. CODE is the folder with the code, in the project. Reads
# VIRTUAL_ENV and POETRY_HOME from the environment.
set -eu
dir=$1 code=$2

# What is held, for the Poetry plugin and for restore-torch.
install -m 644 "$dir/torch.txt" "$VIRTUAL_ENV/torch.$TORCH_BUILD.txt"
install -m 644 "$dir/prune.txt" "$VIRTUAL_ENV/torch-pruned.txt"
mkdir -p /tmp/hold-torch/torchcrate/stages/dev /tmp/hold-torch/torchcrate/stages/locks
cp "$dir/dev/pyproject.toml" /tmp/hold-torch
cp "$dir"/dev/*.py /tmp/hold-torch/torchcrate/stages/dev
cp "$dir/split_locks.py" /tmp/hold-torch/torchcrate/stages/locks
uv pip install --quiet --no-cache --offline --no-deps --no-build-isolation \
    --python "$POETRY_HOME/venv" /tmp/hold-torch
rm -r /tmp/hold-torch
ln -s "$POETRY_HOME/venv/bin/restore-torch" /usr/local/bin/restore-torch

# With the project mounted at /workspace its code comes from there, so that tracebacks and
# breakpoints name the files that are edited. It is read before app_src.pth.
echo "/workspace/$code" > "$VIRTUAL_ENV/lib/python3.11/site-packages/app_dev.pth"

# The user that an editor runs as, which gives it your uid. Ubuntu 24.04 has a user of uid 1000.
useradd --non-unique --uid 1000 --user-group --create-home --no-log-init --shell /bin/bash dev

# Whoever may write to a folder may replace the files in it. The files themselves stay as they are:
# changing them would copy torch's gigabytes into this layer.
find "$VIRTUAL_ENV" -type d -exec chmod a+w {} +
