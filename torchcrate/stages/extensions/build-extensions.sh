#!/bin/sh
# build-extensions.sh DIR : compile what DIR/locks/extensions.txt names against the image's torch.
#
# DIR/torch is the environment that torch was installed into, and DIR/locks/build.txt names what the
# builds take beside it. Whatever links against torch must be compiled against the very build that
# it will meet, so nothing is taken compiled and no environment is made for a build: that one would
# have a torch of its own.
set -eu
dir=$1
site=lib/python3.11/site-packages

if ! [ -s "$dir/locks/extensions.txt" ]; then
    exit
fi

trap 'rm -rf /tmp/build' EXIT
python3.11 -m venv --without-pip /tmp/build
uv pip install --quiet --no-cache --python /tmp/build --no-deps --requirement "$dir/locks/build.txt"

# --no-cache: uv would take a package that it has once compiled against another torch.
PATH=/tmp/build/bin:$PATH PYTHONPATH=/tmp/build/$site:$dir/torch/$site \
    uv pip install --no-cache --python "$VIRTUAL_ENV" --no-deps --no-build-isolation \
    --requirement "$dir/locks/extensions.txt" || {
    echo >&2 "ERROR: the group torch-extensions was not compiled (see above): what the build itself" \
        "lacks goes into the group torch-extensions-build, for instance with" \
        "\`poetry add --group torch-extensions-build setuptools\`, and a library or compiler into" \
        "apt/builder.txt."
    exit 1
}
