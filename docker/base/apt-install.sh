#!/bin/sh
# apt-install.sh PACKAGE... : install packages and leave nothing of apt's in the layer.
#
# PACKAGE may be "A|B": A where the archive can install it, else B.
# Wants the mounts that the Dockerfile gives it: apt's two caches, and apt-keep-cache.conf.
# Build secret `ca`, where given, is what apt trusts for a mirror behind https.
set -eu

ca=
if [ -s /run/secrets/ca ]; then
    ca='-o Acquire::https::CAInfo=/run/secrets/ca'
fi
export DEBIAN_FRONTEND=noninteractive

# --error-on=any: a source that does not answer must stop the build. By default apt only warns,
# and then takes the package from another source (on Ubuntu 22.04: a Python release candidate).
# shellcheck disable=SC2086  # two words or none
apt-get $ca --error-on=any update

packages=
for wanted; do
    first=${wanted%%|*}
    if [ "$first" != "$wanted" ] && ! apt-get install --simulate "$first" >/dev/null 2>&1; then
        first=${wanted#*|}
    fi
    packages="$packages $first"
done
# shellcheck disable=SC2086  # a list of words
apt-get $ca install --yes --no-install-recommends $packages

# Logs and backups carry the time of the build, which would make every layer differ.
rm -rf /var/log/apt /var/log/dpkg.log /var/log/alternatives.log \
    /var/cache/ldconfig/aux-cache /var/cache/debconf/*-old /var/lib/dpkg/*-old
