#!/bin/sh
# uv.sh LOCK : put the uv in LOCK into /opt/uv/bin, and pip into /opt/uv.
#
# Reads INDEX_URL from the environment.
set -eu
lock=$1
# shellcheck source=/dev/null
. "${0%/*}/env.sh"

host=${INDEX_URL#*://}
case ${host%%/*} in
*@*)
    echo >&2 "ERROR: INDEX_URL would stay readable in the image's history: take the password out" \
        "and hand it in with --secret id=netrc,src=\$HOME/.netrc."
    exit 1
    ;;
esac

# One of these has a wheel of pip, for new environments: python3.11-venv of the PPA
# (https://github.com/deadsnakes/issues/issues/223), python3-pip-whl of Debian 12
# (https://packages.debian.org/bookworm/all/python3-pip-whl/filelist). A wheel of Python alone needs no installer, and
# with bytecode pip starts a second sooner, in each build that downloads. The same bytes each time: torch's stage mounts
# /opt/uv, and would run again.
UNPACK=/tmp/pip /mnt/apt/install.sh python3.11-venv python3-pip-whl
for wheel in /tmp/pip/usr/lib/python3.11/ensurepip/_bundled/pip-*.whl /tmp/pip/usr/share/python-wheels/pip-*.whl; do
    if [ -e "$wheel" ]; then
        python3.11 -m zipfile --extract "$wheel" /opt/uv
        python3.11 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/uv/pip
        break
    fi
done
rm -rf /tmp/pip
if ! [ -e /opt/uv/pip ]; then
    echo >&2 "ERROR: apt has no wheel of pip in python3.11-venv or python3-pip-whl (see above): mend the base image's" \
        "apt sources, or name a mirror with --build-arg APT_MIRROR=URL."
    exit 1
fi

# The cache keeps uv's wheel, since the list of all of them on an index takes pip seconds to read. Any build may write
# to the cache: a copy is checked, and that copy is used.
downloads=$(mktemp -d)
version=$(sed -En 's/^uv==([^ ]+).*/\1/p' "$lock")
find /mnt/wheels -maxdepth 1 -type f -name "uv-$version-*linux_*_$(uname -m).whl" -exec cp -t "$downloads" {} +
for wheel in "$downloads"/*; do
    digest=$(sha256sum "$wheel" 2>/dev/null | cut -c1-64)
    grep -Eq "sha256:$digest( |\$)" "$lock" || rm -f "$wheel"
done
if ! ls "$downloads"/*.whl >/dev/null 2>&1; then
    PYTHONPATH=/opt/uv python3.11 -m pip download --dest "$downloads" --no-cache-dir --no-input --no-deps \
        --progress-bar off --only-binary :all: --disable-pip-version-check --require-hashes --requirement "$lock"
    # At once and whole, and not through what another build left there under that name. It is no error if it fails.
    whole=$(mktemp -d /mnt/wheels/tmp.XXXXXX)
    cp -t "$whole" "$downloads"/*.whl && mv -f -t /mnt/wheels "$whole"/*.whl || true
    rm -rf "$whole"
fi
python3.11 -m zipfile --extract "$(find "$downloads" -name '*.whl' -print -quit)" "$downloads"
install -D -m 755 -t /opt/uv/bin "$downloads/uv-$version.data/scripts/uv"
rm -r "$downloads"
