#!/bin/bash
# install-torch.sh DIR : the torch family that DIR/torch.txt names, into /app/.venv.
#
# DIR holds uv, the lock torch.txt, uv's cache, the folder wheels (the build context of that name)
# and, as netrc, the build secret of that name. Nothing is resolved, and each wheel is checked
# against its digest in the lock. What lies in wheels is taken first, and alone if it is enough.
set -euo pipefail
dir=$1

# Like the builder's: build secret `ca` is mounted over this file.
export SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
# The cache is a mount, so uv cannot link from it.
export UV_CACHE_DIR=$dir/cache UV_LINK_MODE=copy
# No note of when and from where: a wheel from a folder and from an index make the same layer.
export UV_NO_INSTALLER_METADATA=1
if [ -s "$dir/netrc" ]; then
    export NETRC=$dir/netrc
fi

trap 'rm -f /tmp/install-torch.log' EXIT

install() {
    "$dir/uv" pip install --python "$VIRTUAL_ENV" --no-deps --require-hashes \
        --find-links "$dir/wheels" --requirement "$dir/torch.txt" "$@" 2>&1 | tee /tmp/install-torch.log
}

# refuse WHY MEND : stop with one sentence.
refuse() {
    echo >&2 "ERROR: locks/torch.$TORCH_BUILD.txt was not installed: $1 (see above). $2"
    exit 1
}

refuse_wrong_wheel() {
    if grep -q 'Hash mismatch' /tmp/install-torch.log; then
        refuse 'a wheel does not have the digest that the lock names' \
            "Fetch it again, or lock what the index has now with 'make lock BUILD=$TORCH_BUILD'."
    fi
}

if [ -n "$(ls "$dir/wheels")" ]; then
    echo "Taking torch from the build context 'wheels'"
    if install --offline; then
        exit
    fi
    refuse_wrong_wheel
    echo "The build context 'wheels' does not have all of it: asking the index too"
fi
if ! install; then
    refuse_wrong_wheel
    if grep -qi 'No space left' /tmp/install-torch.log; then
        refuse 'the disk is full' \
            "Make room (a GPU build needs 12 GB), for instance with 'docker builder prune'."
    fi
    refuse 'an index does not answer or lacks a wheel' \
        'Name a mirror with --build-arg INDEX_URL=... or TORCH_INDEX_URL=..., or hand in the wheels with --build-context wheels=FOLDER.'
fi
