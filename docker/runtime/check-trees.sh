#!/bin/sh
# check-trees.sh DIR : stop the build where what Poetry and torch's lock installed do not fit.
#
# DIR holds uv. Each tree was checked against its own lock; only together do they show, say, a
# package that needs a newer torch.
set -eu

"$1/uv" pip check --no-cache --python "$VIRTUAL_ENV" || {
    echo >&2 "ERROR: locks/torch.$TORCH_BUILD.txt and poetry.lock do not fit together (see above):" \
        "run 'make lock', then build again."
    exit 1
}
# So that this step's layer, which holds no file, is the same every time.
touch --date=@315532800 / /etc /mnt /tmp
