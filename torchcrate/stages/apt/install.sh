#!/bin/sh
# install.sh PACKAGE|FILE... : install packages and leave nothing of apt's in the layer.
#
# PACKAGE may be "A|B": A, or B if apt cannot install A. FILE, with its full path, has one package on
# each line, and comments. Without packages this does nothing.
# It needs the Dockerfile's mounts: apt's two caches, and keep-cache.conf. For an https mirror apt
# trusts the build secret `ca`, if it is given.
set -eu

started=$(date +%s)
# Logs and backups, which have the time of the build.
leftovers() {
    find /var/log/apt /var/log/dpkg.log /var/log/alternatives.log /var/cache/ldconfig/aux-cache \
        /var/cache/debconf/*-old /var/lib/dpkg/*-old 2>/dev/null || true
}
leftovers >/tmp/before

lists='' wanted=''
for name; do
    case $name in
    /*)
        wanted="$wanted $(sed 's/#.*//' "$name")"
        lists=yes
        ;;
    *) wanted="$wanted $name" ;;
    esac
done
# shellcheck disable=SC2086  # a list of words
set -- $wanted
if [ $# = 0 ]; then
    rm /tmp/before
    "${0%/*}/fix-times.sh" "$started"
    exit
fi

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
for name; do
    first=${name%%|*}
    if [ "$first" != "$name" ] && ! apt-get install --simulate "$first" >/dev/null 2>&1; then
        first=${name#*|}
    fi
    packages="$packages $first"
done
# shellcheck disable=SC2086  # a list of words
apt-get $ca install --yes --no-install-recommends $packages || {
    if [ "$lists" ]; then
        echo >&2 "ERROR: apt cannot install what apt/builder.txt or" \
            "apt/runtime.txt names (its message is above): correct the list, then build again."
    fi
    exit 1
}

# Files of the layers below are emptied, not deleted: the deletion would have a time too.
leftovers | while read -r path; do
    if ! grep --quiet --line-regexp --fixed-strings "$path" /tmp/before; then
        rm -rf "$path"
    elif [ -f "$path" ]; then
        : >"$path"
    fi
done
rm /tmp/before
"${0%/*}/fix-times.sh" "$started"
