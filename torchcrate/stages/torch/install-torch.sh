#!/bin/bash
# install-torch.sh DIR : install the torch family in DIR/torch.txt into /app/.venv.
#
# DIR has uv, pip.whl, the lock torch.txt, the list prune.txt, the folder wheels (the build context),
# the folder cache, and netrc (the build secret). Nothing is resolved, and each wheel is checked
# against its hash in the lock. Wheels in the folder come first, and alone if they are enough. Reads
# VIRTUAL_ENV, TORCH_BUILD and PRUNE from the environment.
set -euo pipefail
dir=$1

case $PRUNE in
yes | no) ;;
*)
    echo >&2 "ERROR: PRUNE is '$PRUNE'; build with --build-arg PRUNE=yes (the default) or no."
    exit 1
    ;;
esac

# As in the stage uv: build secret `ca` is mounted over this file.
export SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PIP_CERT=/etc/ssl/certs/ca-certificates.crt
# pip does not resume a download of gigabytes, so a slow moment must not end it.
export PIP_DEFAULT_TIMEOUT=90
# uv unpacks each wheel into this cache, in the layer itself, and links to it: torch is written once.
export UV_CACHE_DIR=$VIRTUAL_ENV/.cache UV_LINK_MODE=hardlink
# No record of the wheel's source, so that a folder and an index make the same layer.
export UV_NO_INSTALLER_METADATA=1
if [ -s "$dir/netrc" ]; then
    export NETRC=$dir/netrc
fi

trap 'rm -rf "$UV_CACHE_DIR" /tmp/install-torch.log' EXIT

install() {
    "$dir/uv" pip install --offline --python "$VIRTUAL_ENV" --no-deps --require-hashes \
        --find-links "$dir/wheels" --requirement "$dir/torch.txt" "$@" 2>&1 | tee /tmp/install-torch.log
}

# With pip: uv keeps unpacked wheels in its cache, nearly twice the bytes.
download() {
    TMPDIR=$dir/cache PYTHONPATH=$dir/pip.whl python3.11 -m pip download --dest "$dir/cache" \
        --no-deps --require-hashes --only-binary :all: --find-links "$dir/wheels" \
        --no-cache-dir --progress-bar off --no-input --disable-pip-version-check \
        --requirement "$dir/torch.txt" 2>&1 | sed --unbuffered 's/^ERROR: /pip: /' \
        | tee /tmp/install-torch.log
}

# refuse WHY MEND : stop with one sentence.
refuse() {
    echo >&2 "ERROR: locks/torch.$TORCH_BUILD.txt was not installed: $1 (see above). $2"
    exit 1
}

refuse_known() {
    if grep -qi -e 'Hash mismatch' -e 'do not match the hashes' /tmp/install-torch.log; then
        refuse 'a wheel does not have the digest that the lock names' \
            "Fetch it again, or lock what the index has now with './crate lock --build $TORCH_BUILD'."
    fi
    if grep -qi 'No space left' /tmp/install-torch.log; then
        refuse 'the disk is full' \
            "Make room (a GPU build needs 10 GB), for instance with 'docker builder prune'."
    fi
}

# Parts of wheels from a build that was stopped. Nothing uses them.
find "$dir/cache" -mindepth 1 -maxdepth 1 ! -name '*.whl' -exec rm -rf {} +

installed=
if [ -n "$(ls "$dir/wheels")" ]; then
    echo "Taking torch from the build context 'wheels'"
    if install; then
        installed=yes
    else
        refuse_known
        echo "The build context 'wheels' does not have all of it: asking the index too"
    fi
fi
if [ -z "$installed" ]; then
    # An earlier build may have left all wheels. If not, it is no error yet.
    if ! install --find-links "$dir/cache" >/dev/null; then
        if ! download; then
            refuse_known
            refuse 'an index does not answer or lacks a wheel' \
                'Name a mirror with --build-arg INDEX_URL=... or TORCH_INDEX_URL=..., or hand in the wheels with --build-context wheels=FOLDER.'
        fi
        install --find-links "$dir/cache" || {
            refuse_known
            refuse 'uv could not unpack it' 'Please report this.'
        }
    fi
fi

if [ "$PRUNE" = yes ]; then
    site=$VIRTUAL_ENV/lib/python3.11/site-packages
    sed -n 's/ *#.*//; /./p' "$dir/prune.txt" | while read -r pattern; do
        find "$site" -type f -path "$site/$pattern" -delete
    done
    find "$site/torch" -type d -empty -delete
fi
