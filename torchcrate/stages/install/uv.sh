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

/mnt/apt/install.sh 'python3.11-venv|python3-pip-whl'
# Debian and Ubuntu have a wheel of pip for new environments. It runs from the wheel.
for wheel in /usr/lib/python3.11/ensurepip/_bundled/pip-*.whl /usr/share/python-wheels/pip-*.whl; do
    if [ -e "$wheel" ]; then
        break
    fi
done
PYTHONPATH=$wheel python3.11 -m pip install --target /opt/uv --no-compile --no-cache-dir --no-input \
    --disable-pip-version-check --require-hashes --requirement "$1"
cp "$wheel" /opt/uv/pip.whl  # to download with
