#!/bin/sh
# install-uv.sh LOCK : uv as LOCK has it into /opt/uv, and beside it the wheel of pip.
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

# The pip that Debian or Ubuntu pack for new environments runs straight from its wheel, by the new
# environment's Python: with --python it would start a second time, for two seconds more.
for wheel in /usr/lib/python3.11/ensurepip/_bundled/pip-*.whl /usr/share/python-wheels/pip-*.whl; do
    if [ -e "$wheel" ]; then
        break
    fi
done
python3.11 -m venv --without-pip /opt/uv
PYTHONPATH=$wheel /opt/uv/bin/python -m pip install \
    --no-cache-dir --require-hashes --requirement "$lock"
cp "$wheel" /opt/uv/pip.whl  # for the stage `torch`
