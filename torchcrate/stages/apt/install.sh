#!/bin/sh
# install.sh PACKAGE|FILE... : install packages and leave nothing of apt's in the layer.
#
# Files get one fixed time, so that the same packages make the same layer. STARTED is when another script began, in
# seconds since 1970. PACKAGE may be "A|B": A, or B if apt cannot install A. FILE, with its full path, has one package on
# each line, and comments. Without packages it only fixes the times. With UNPACK=FOLDER it only unpacks what apt has of
# the packages there, without what they depend on.
# The packages stay in the cache mount /mnt/cache; apt checks each one's hash. Its lists do not: where a server says
# that they have not changed, apt takes those on the disk unchecked, and any build may write to a cache mount
# (pkgAcqTransactionItem::QueueURI in apt's source). For an https mirror apt trusts the build secret `ca`.
set -eu

started=${STARTED:-$(date +%s)}
fix_times() {
    # Logs and backups have the time of the build. Emptied, not deleted: a deletion has a time too.
    find /var/log /var/cache/ldconfig/aux-cache /var/cache/debconf/*-old /var/lib/dpkg/*-old \
        -type f -size +0 -exec truncate --size=0 {} + 2>/dev/null || true
    find /etc /usr /var -xdev -newermt "@$((started - 1))" \( -type l -o -writable \) \
        -exec touch --no-dereference --date=@315532800 {} +
    # The folders that the step's own mounts touch.
    touch --date=@315532800 / /etc /etc/apt/apt.conf.d /mnt /run /tmp
}

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
    fix_times
    exit
fi

mkdir -p /tmp/apt/lists/partial /mnt/cache/partial
options='-o Dir::State=/tmp/apt -o Dir::State::status=/var/lib/dpkg/status -o Dir::Cache=/tmp/apt
    -o Dir::Cache::archives=/mnt/cache -o APT::Keep-Downloaded-Packages=true'
if [ -s /run/secrets/ca ]; then
    options="$options -o Acquire::https::CAInfo=/run/secrets/ca"
fi
export DEBIAN_FRONTEND=noninteractive

# --error-on=any: a source that does not answer must stop the build. By default apt only warns,
# and then takes the package from another source (on Ubuntu 22.04: a Python release candidate).
# shellcheck disable=SC2086  # a list of words
apt-get $options --error-on=any update

if [ "${UNPACK-}" ]; then
    mkdir /tmp/apt/debs
    cd /tmp/apt/debs
    for name; do  # one that is not there is no error: the caller looks for what it needs
        # shellcheck disable=SC2086
        apt-get $options -o APT::Sandbox::User=root download "$name" || true
    done
    find . -name '*.deb' -exec dpkg-deb --extract {} "$UNPACK" \;
    cd /
    rm -r /tmp/apt
    fix_times
    exit
fi

packages=
for name; do
    first=${name%%|*}
    # shellcheck disable=SC2086
    if [ "$first" != "$name" ] && ! apt-get $options install --simulate "$first" >/dev/null 2>&1; then
        first=${name#*|}
    fi
    packages="$packages $first"
done
# shellcheck disable=SC2086  # a list of words
apt-get $options install --yes --no-install-recommends $packages || {
    if [ "$lists" ]; then
        echo >&2 "ERROR: apt cannot install what apt/builder.txt or" \
            "apt/runtime.txt names (its message is above): correct the list, then build again."
    fi
    exit 1
}

rm -r /tmp/apt
fix_times
if command -v fc-cache >/dev/null; then  # its caches have the times of the folders of fonts
    fc-cache --force --system-only
    fix_times
fi
