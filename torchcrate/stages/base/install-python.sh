#!/bin/sh
# install-python.sh : install the final Python 3.11 and make it `python` and `python3`.
#
# It needs the scripts of the folder apt in /mnt/apt. Reads BASE_IMAGE (for the error message), APT_MIRROR and
# PPA_URL from the environment.
set -eu
here=${0%/*}
STARTED=$(date +%s)
export STARTED

refuse() {
    echo >&2 "ERROR: BASE_IMAGE $BASE_IMAGE (${PRETTY_NAME:-unknown system}) $1;" \
        "build with --build-arg BASE_IMAGE=ubuntu:22.04, ubuntu:24.04 or debian:12."
    exit 1
}

if [ -r /etc/os-release ]; then
    # shellcheck source=/dev/null
    . /etc/os-release
fi
command -v apt-get >/dev/null || refuse 'has no apt to install Python 3.11 with'

for url in "$APT_MIRROR" "$PPA_URL"; do
    host=${url#*://}
    case ${host%%/*} in
    *@*)
        echo >&2 "ERROR: APT_MIRROR and PPA_URL would stay readable in the image's history:" \
            "take the password out of them."
        exit 1
        ;;
    esac
done
if [ -n "$APT_MIRROR" ]; then
    # Only scheme and host change: every mirror serves the same paths as the archive it mirrors.
    find /etc/apt \( -name '*.list' -o -name '*.sources' \) -exec sed -Ei \
        "s#https?://[^/ ]+/(ubuntu|ubuntu-ports|debian|debian-security)/?( |\$)#${APT_MIRROR%/}/\\1\\2#" {} +
fi

if [ "$ID" = ubuntu ]; then
    # Ubuntu has a release candidate of 3.11 (22.04) or none (24.04). The deadsnakes PPA has the final
    # release. Its key is in this repository, so software-properties-common, which installs Ubuntu's
    # own Python, is not needed. http is enough: apt checks every file against the key. Its packages have Debian's
    # names: https://github.com/deadsnakes/python3.11/blob/2a5ffc5dc04167c0fd9410aeef63eccd11e209db/debian/control
    install -D -m 644 "$here/deadsnakes.asc" /etc/apt/keyrings/deadsnakes.asc
    cat >/etc/apt/sources.list.d/deadsnakes.sources <<SOURCES
Types: deb
URIs: $PPA_URL
Suites: $VERSION_CODENAME
Components: main
Signed-By: /etc/apt/keyrings/deadsnakes.asc
SOURCES
    # Never install the release candidate, even if the PPA drops this Ubuntu.
    cat >/etc/apt/preferences.d/deadsnakes <<'PREFERENCES'
Package: *python3.11*
Pin: release o=Ubuntu
Pin-Priority: -1
PREFERENCES
fi

/mnt/apt/install.sh ca-certificates python3.11 tzdata \
    || refuse 'did not give a Python 3.11 package (the reason is above)'
release=$(python3.11 -c 'import sys; print(sys.version_info.releaselevel)')
[ "$release" = final ] || refuse "has only a Python 3.11 $release"

# With a diversion, unlike update-alternatives, a python3 that is installed later becomes
# python3.distrib (https://manpages.debian.org/dpkg-divert).
for name in python python3; do
    dpkg-divert --quiet --local --rename --add "/usr/bin/$name"
    ln -s python3.11 "/usr/bin/$name"
done

/mnt/apt/install.sh  # fixes the times
