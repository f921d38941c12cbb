#!/bin/sh
# poetry.sh LOCK : install the Poetry in LOCK into its own environment in POETRY_HOME.
#
# Reads VIRTUAL_ENV and POETRY_HOME from the environment.
set -eu
# shellcheck source=/dev/null
. "${0%/*}/env.sh"

python3.11 -m venv --without-pip "$POETRY_HOME/venv"
uv pip install --compile-bytecode --python "$POETRY_HOME/venv" --require-hashes --requirement "$1"
install -d "$POETRY_HOME/bin"
ln -s ../venv/bin/poetry "$POETRY_HOME/bin/poetry"

# Without VIRTUAL_ENV (after `deactivate`, under sudo or cron) Poetry would install into the system or
# make its own environment. This command sets it, in any folder. Poetry's built-in git ignores certificates and
# ~/.netrc (https://python-poetry.org/docs/configuration/#system-git-client). A slow mirror needs more than 15 seconds
# and no retry.
cat >/usr/local/bin/poetry <<POETRY
#!/bin/sh
export VIRTUAL_ENV="\${VIRTUAL_ENV:-$VIRTUAL_ENV}" POETRY_VIRTUALENVS_CREATE=false POETRY_NO_INTERACTION=1
export POETRY_SYSTEM_GIT_CLIENT=true
export POETRY_REQUESTS_TIMEOUT="\${POETRY_REQUESTS_TIMEOUT:-90}" POETRY_REQUESTS_MAX_RETRIES="\${POETRY_REQUESTS_MAX_RETRIES:-3}"
exec $POETRY_HOME/bin/poetry "\$@"
POETRY
chmod 755 /usr/local/bin/poetry
poetry --version
