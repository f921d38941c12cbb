#!/bin/sh
# install-uv.sh LOCK : install the uv in LOCK into /opt/uv, and put pip's wheel beside it.
#
# Reads INDEX_URL from the environment.
set -eu
lock=$1

host=${INDEX_URL#*://}
case ${host%%/*} in
*@*)
    echo >&2 "ERROR: INDEX_URL would stay readable in the image's history: take the password out" \
        "and hand it in with --secret id=netrc,src=\$HOME/.netrc."
    exit 1
    ;;
esac

# Debian and Ubuntu have a wheel of pip for new environments. It runs from the wheel, with the new
# environment's Python: with --python pip would start twice, for two more seconds.
for wheel in /usr/lib/python3.11/ensurepip/_bundled/pip-*.whl /usr/share/python-wheels/pip-*.whl; do
    if [ -e "$wheel" ]; then
        break
    fi
done
python3.11 -m venv --without-pip /opt/uv
PYTHONPATH=$wheel /opt/uv/bin/python -m pip install \
    --no-cache-dir --require-hashes --requirement "$lock"
cp "$wheel" /opt/uv/pip.whl  # for the stage `torch`
