#!/bin/bash
# wheels.sh LOCK REQUIREMENTS [LARGE SMALL] : install wheels, each checked against its hash.
#
# REQUIREMENTS is the part of LOCK to install; nothing is resolved. It goes into VIRTUAL_ENV or, with numbers of layers,
# into the trees /layers/1 and so on, see split_layers.py. Wheels come from the build context `wheels` in /mnt/wheels,
# from the cache of downloads in /mnt/cache, and from an index. Reads VIRTUAL_ENV and INDEX_URL from the environment,
# and PRUNE: `yes` leaves out what prune.txt lists.
set -euo pipefail
lock=$1 requirements=$2 large=${3:-} small=${4:-}
prefix=${large:+/tree}$VIRTUAL_ENV
here=${0%/*} cache=/mnt/cache
# shellcheck source=/dev/null
. "$here/env.sh"

case ${PRUNE=no} in
yes | no) ;;
*)
    echo >&2 "ERROR: PRUNE is '$PRUNE'; build with --build-arg PRUNE=yes (the default) or no."
    exit 1
    ;;
esac

# uv unpacks each wheel into this cache, in the layer itself, and links to it: all is written once.
unset UV_NO_CACHE
export UV_CACHE_DIR=$prefix/.cache UV_LINK_MODE=hardlink
# No record of the wheel's source, so that a folder and an index make the same layer.
export UV_NO_INSTALLER_METADATA=1
PIP_TRUSTED_HOST="$PIP_TRUSTED_HOST $(sed -En 's#^--(extra-)?index-url http://([^/]+).*#\2#p' "$requirements")"
mkdir -p "$prefix" /mnt/wheels
downloads=$(mktemp -d "$cache/tmp.XXXXXX")
trap 'rm -rf "$UV_CACHE_DIR" "$downloads" /tmp/install.log' EXIT

install() {
    /opt/uv/bin/uv pip install --offline --python "$VIRTUAL_ENV" --prefix "$prefix" --no-deps --require-hashes \
        --find-links /mnt/wheels --requirement "$requirements" "$@" 2>&1 | tee /tmp/install.log
}

# Download what the cache lacks. With pip: uv keeps unpacked wheels in its cache, nearly twice the bytes.
download() {
    # Of the packages that are wanted: the cache may have all that other projects need.
    names=$(sed -En 's/^([A-Za-z0-9._-]+)==.*/\1/p' "$requirements" | sed 's/[-_.]/[-_.]/g' | paste -sd '|')
    find "$cache" -maxdepth 1 -regextype posix-extended -iregex "$cache/($names)-[0-9][^/]*\.whl" \
        -exec sha256sum {} + | cut -c1-64 >"$downloads/digests"
    sed ':a; /\\$/ { N; s/\\\n//; ba }' "$requirements" \
        | grep --invert-match --fixed-strings --file="$downloads/digests" >"$downloads/missing.txt" || true
    TMPDIR=$downloads PYTHONPATH=/opt/uv python3.11 -m pip download --dest "$downloads" \
        --no-deps --require-hashes --only-binary :all: --find-links /mnt/wheels \
        --no-cache-dir --progress-bar off --no-input --disable-pip-version-check \
        --requirement "$downloads/missing.txt" 2>&1 | sed -u 's/^ERROR: /pip: /' | tee /tmp/install.log || return
    # At once and whole: another build may be reading the cache.
    find "$downloads" -maxdepth 1 -name '*.whl' -exec mv --force --target-directory="$cache" {} +
}

# refuse WHY MEND : stop with one sentence.
refuse() {
    echo >&2 "ERROR: $lock was not installed: $1 (see above). $2"
    exit 1
}

refuse_known() {
    if grep -qi -e 'Hash mismatch' -e 'do not match the hashes' /tmp/install.log; then
        refuse 'a wheel does not have the digest that the lock names' \
            "Fetch it again, or lock what the index has now with './crate lock'."
    fi
    if grep -qi 'No space left' /tmp/install.log; then
        refuse 'the disk is full' \
            "Make room (a GPU build needs 10 GB), for instance with 'docker builder prune'."
    fi
}

# Parts of wheels from a build that was stopped a day ago. Other steps use the cache at the same time.
find "$cache" -mindepth 1 -maxdepth 1 -name 'tmp.*' -mmin +1440 -exec rm -rf {} +

installed=
if [ -n "$(ls /mnt/wheels)" ]; then
    echo "Taking wheels from the build context 'wheels'"
    if install; then
        installed=yes
    else
        refuse_known
        echo "The build context 'wheels' does not have all of it: asking the index too"
    fi
fi
if [ -z "$installed" ]; then
    # An earlier build may have left all wheels. If not, it is no error yet.
    if ! install --find-links "$cache" >/dev/null; then
        if ! download; then
            refuse_known
            refuse 'an index does not answer or lacks a wheel' \
                'Name a mirror with --build-arg INDEX_URL=... or TORCH_INDEX_URL=..., or hand in the wheels with --build-context wheels=FOLDER.'
        fi
        install --find-links "$cache" || {
            refuse_known
            refuse 'uv could not unpack it' 'Please report this.'
        }
    fi
fi

if [ "$PRUNE" = yes ]; then
    site=$prefix/lib/python3.11/site-packages
    sed -n 's/ *#.*//; /./p' "$here/prune.txt" | while read -r pattern; do
        find "$site" -type f -path "$site/$pattern" -delete
    done
    find "$site/torch" -type d -empty -delete
fi

if [ "$large" ]; then
    rm -rf "$UV_CACHE_DIR"
    python3.11 -B "$here/finish_tree.py" /tree
    python3.11 -B "$here/split_layers.py" /tree /layers /metadata/1 "$large" "$small"
fi
