#!/bin/sh
# uv.sh LOCK : install the uv in LOCK into /opt/uv, and put pip's wheel beside it.
#
# Reads INDEX_URL from the environment.
set -eu
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

# Debian and Ubuntu have a wheel of pip for new environments, in one of these. It runs from the wheel.
UNPACK=/tmp/pip /mnt/apt/install.sh python3.11-venv python3-pip-whl
for wheel in /tmp/pip/usr/lib/python3.11/ensurepip/_bundled/pip-*.whl /tmp/pip/usr/share/python-wheels/pip-*.whl; do
    if [ -e "$wheel" ]; then
        install -D -m 644 "$wheel" /opt/uv/pip.whl
        break
    fi
done
rm -rf /tmp/pip
if ! [ -e /opt/uv/pip.whl ]; then
    echo >&2 "ERROR: apt has no wheel of pip in python3.11-venv or python3-pip-whl (see above): mend the base image's" \
        "apt sources, or name a mirror with --build-arg APT_MIRROR=URL."
    exit 1
fi
PYTHONPATH=/opt/uv/pip.whl python3.11 -m pip install --target /opt/uv --no-compile --no-cache-dir --no-input \
    --disable-pip-version-check --require-hashes --requirement "$1"
