#!/bin/sh
# install-poetry.sh LOCK : Poetry as LOCK has it into an environment of its own in POETRY_HOME.
#
# Reads VIRTUAL_ENV, POETRY_HOME, POETRY_INSTALLER and POETRY_INSTALLER_URL from the environment.
set -eu
lock=$1

case $POETRY_INSTALLER in
locked)
    python3.11 -m venv --without-pip "$POETRY_HOME/venv"
    uv pip install --no-cache --python "$POETRY_HOME/venv" \
        --require-hashes --requirement "$lock"
    install -d "$POETRY_HOME/bin"
    ln -s ../venv/bin/poetry "$POETRY_HOME/bin/poetry"
    ;;
official)
    version=$(sed -n 's/^poetry==\([^ ;]*\).*/\1/p' "$lock")
    python3.11 -c 'import sys, urllib.request; urllib.request.urlretrieve(*sys.argv[1:])' \
        "$POETRY_INSTALLER_URL" /tmp/installer.py || {
        echo >&2 "ERROR: POETRY_INSTALLER_URL $POETRY_INSTALLER_URL does not answer;" \
            "leave out --build-arg POETRY_INSTALLER=official to install locks/poetry.txt."
        exit 1
    }
    POETRY_VERSION=$version python3.11 /tmp/installer.py
    rm /tmp/installer.py
    ;;
*)
    echo >&2 "ERROR: POETRY_INSTALLER is '$POETRY_INSTALLER';" \
        "build with --build-arg POETRY_INSTALLER=locked (the default) or official."
    exit 1
    ;;
esac

# Without VIRTUAL_ENV (after `deactivate`, under sudo or cron) Poetry would install into the system,
# or make an environment of its own. Whoever starts it this way, from any folder, gets /app/.venv.
cat >/usr/local/bin/poetry <<POETRY
#!/bin/sh
export VIRTUAL_ENV="\${VIRTUAL_ENV:-$VIRTUAL_ENV}" POETRY_VIRTUALENVS_CREATE=false
exec $POETRY_HOME/bin/poetry "\$@"
POETRY
chmod 755 /usr/local/bin/poetry
poetry --version
