#!/bin/sh
# finish-tree.sh [LAYER]: compile the bytecode of /app/.venv, and give every file one fixed time.
#
# The same packages then make the same layer, bit for bit, whoever builds it and when, and a user
# who may not write bytecode imports torch in two thirds of the time. Run it in the RUN that
# installs: in a later one it would copy the whole tree into a second layer.
#
# LAYER becomes a tree with the same files, hard links, under their full paths. COPY --link of all
# that is in it makes the same layer too; of /app/.venv, /app would have the time of the build.
set -eu

rm -f "$VIRTUAL_ENV/.lock"  # uv's, writable for everybody
rm -rf "$VIRTUAL_ENV/src"    # what Poetry cloned to install from git, history and all

# Poetry installs packages side by side, with a library (`installer`) that sets the umask to 0 for a
# moment to learn it: a file that is made just then may be written by anybody.
find "$VIRTUAL_ENV" ! -type l -perm /022 -exec chmod go-w {} +

# checked-hash: the file holds no time, and still notices when somebody edits the source. -f: also
# where the Python that runs this has already written a file with a time in it. Some packages ship
# files for other Python versions; that these do not compile is no error. Packages' own tests stay
# sources: they are a third of all there is to compile, and only a test runner imports them.
find "$VIRTUAL_ENV/lib" -path '*/tests/*' \
    \( -name 'test_*.pyc' -o -type d -name __pycache__ -empty \) -delete
python3.11 -m compileall -f -qq -j 0 --invalidation-mode checked-hash \
    -x '/tests/(.*/)?test_[^/]*$' "$VIRTUAL_ENV/lib" || true

# 1980-01-01, the earliest time that a zip file can hold. The folders outside are those that the
# build's own mounts touch; they are entries of the layer too.
find "$VIRTUAL_ENV" -exec touch --no-dereference --date=@315532800 {} +
touch --date=@315532800 / /app /etc /mnt /tmp

if [ $# -gt 0 ]; then
    mkdir -p "$1$VIRTUAL_ENV"
    cp --archive --link "$VIRTUAL_ENV/." "$1$VIRTUAL_ENV"
    touch --date=@315532800 "$1" "$1/app"
fi
