#!/bin/sh
# build-extensions.sh DIR : compile the packages in DIR/locks/extensions.txt against the image's torch.
#
# DIR/torch is the environment with torch, and DIR/locks/build.txt lists what else the builds need. A
# package that links to torch works only with the torch that it was compiled with. So no wheel is
# taken from an index, and no build gets its own environment, which would have another torch.
set -eu
dir=$1
site=lib/python3.11/site-packages

if ! [ -s "$dir/locks/extensions.txt" ]; then
    exit
fi

trap 'rm -rf /tmp/build' EXIT
python3.11 -m venv --without-pip /tmp/build
uv pip install --quiet --no-cache --python /tmp/build --no-deps --requirement "$dir/locks/build.txt"

# --no-cache: uv would reuse a package that it compiled against another torch.
PATH=/tmp/build/bin:$PATH PYTHONPATH=/tmp/build/$site:$dir/torch/$site \
    uv pip install --no-cache --python "$VIRTUAL_ENV" --no-deps --no-build-isolation \
    --requirement "$dir/locks/extensions.txt" || {
    echo >&2 "ERROR: the group torch-extensions was not compiled (see above): what the build itself" \
        "lacks goes into the group torch-extensions-build, for instance with" \
        "\`poetry add --group torch-extensions-build setuptools\`, and a library or compiler into" \
        "apt/builder.txt."
    exit 1
}
