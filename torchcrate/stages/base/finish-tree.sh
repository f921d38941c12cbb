#!/bin/sh
# finish-tree.sh [LAYER]: compile the bytecode of /app/.venv, and give every file one fixed time.
#
# The same packages then make the same layer, bit for bit, and a user who may not write bytecode imports
# torch in two thirds of the time. Run it in the RUN that installs: a later RUN would copy the whole
# tree into a second layer.
#
# LAYER becomes a tree with the same files as hard links, under their full paths. COPY --link of it
# makes the same layer too. With COPY of /app/.venv, /app would have the time of the build.
set -eu

rm -f "$VIRTUAL_ENV/.lock"  # uv's, writable for everybody
rm -rf "$VIRTUAL_ENV/src"    # Poetry's clones of git dependencies

# Poetry installs packages in parallel. Its library `installer` sets the umask to 0 for a moment, and a
# file made just then is writable for everybody.
find "$VIRTUAL_ENV" ! -type l -perm /022 -exec chmod go-w {} +

# checked-hash: bytecode without a time, which still notices an edited source (PEP 552,
# https://peps.python.org/pep-0552/). -f: also replace bytecode with a time. Some packages have files
# for other Python versions; if these do not compile, it is no error. Packages' own tests stay
# uncompiled: they are a third of all files, and only a test runner imports them.
find "$VIRTUAL_ENV/lib" -path '*/tests/*' \
    \( -name 'test_*.pyc' -o -type d -name __pycache__ -empty \) -delete
python3.11 -m compileall -f -qq -j 0 --invalidation-mode checked-hash \
    -x '/tests/(.*/)?test_[^/]*$' "$VIRTUAL_ENV/lib" || true

# 1980-01-01, the earliest time in a zip file. The build's mounts touch the folders outside, which are
# in the layer too.
find "$VIRTUAL_ENV" -exec touch --no-dereference --date=@315532800 {} +
touch --date=@315532800 / /app /etc /mnt /tmp

if [ $# -gt 0 ]; then
    mkdir -p "$1$VIRTUAL_ENV"
    cp --archive --link "$VIRTUAL_ENV/." "$1$VIRTUAL_ENV"
    touch --date=@315532800 "$1" "$1/app"
fi
