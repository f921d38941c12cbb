#!/bin/sh
# install-poetry.sh LOCK : install the Poetry in LOCK into its own environment in POETRY_HOME.
#
# Reads VIRTUAL_ENV and POETRY_HOME from the environment.
set -eu
lock=$1

python3.11 -m venv --without-pip "$POETRY_HOME/venv"
uv pip install --no-cache --python "$POETRY_HOME/venv" --require-hashes --requirement "$lock"
install -d "$POETRY_HOME/bin"
ln -s ../venv/bin/poetry "$POETRY_HOME/bin/poetry"

# Without VIRTUAL_ENV (after `deactivate`, under sudo or cron) Poetry would install into the system or
# make its own environment. This command sets it, in any folder.
cat >/usr/local/bin/poetry <<POETRY
#!/bin/sh
export VIRTUAL_ENV="\${VIRTUAL_ENV:-$VIRTUAL_ENV}" POETRY_VIRTUALENVS_CREATE=false
exec $POETRY_HOME/bin/poetry "\$@"
POETRY
chmod 755 /usr/local/bin/poetry
poetry --version
