#!/bin/sh
# archives.sh CODENAME ADDRESS : make signed apt repositories in /srv.
#
# ubuntu has what builds ask for, and a release candidate of Python 3.11, as Ubuntu 22.04 has it; newer has a later patch
# release instead. ppa has the final Python 3.11; empty has none; stranger is ppa, signed with another key. archive.gpg
# and deadsnakes.asc are the public keys. server.crt and server.key are for https at ADDRESS.
set -eu
codename=$1 address=$2 pool=/srv/ubuntu/pool
export DEBIAN_FRONTEND=noninteractive
apt="apt-get --option Acquire::https::CAInfo=/run/secrets/ca --yes --no-install-recommends"
mkdir -p "$pool/partial" /srv/newer /srv/ppa/pool /srv/empty/pool

$apt update
$apt --download-only --reinstall --option "Dir::Cache::archives=$pool" install \
    build-essential ca-certificates curl git openssl python3-pip-whl python3.11 python3.11-dev python3.11-venv tzdata
$apt install apt-utils dpkg-dev gnupg openssl
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=archive -addext "subjectAltName=IP:$address" \
    -keyout /srv/server.key -out /srv/server.crt
rm -rf "$pool/partial" "$pool/lock"
cp -r "$pool" /srv/newer/
mv "$pool"/*python3.11*.deb /srv/ppa/pool/

# rename VERSION FOLDER : put the PPA's packages there with another version.
rename() {
    for package in /srv/ppa/pool/*.deb; do
        dpkg-deb --raw-extract "$package" /tmp/package
        VERSION=$(sed -n 's/^Version: //p' /tmp/package/DEBIAN/control) NEW=$1 \
            perl -pi -e 's/\Q$ENV{VERSION}\E/$ENV{NEW}/g' /tmp/package/DEBIAN/control
        dpkg-deb --build /tmp/package "$2"
        rm -r /tmp/package
    done
}
rename 3.11.0~rc1-1~22.04 "$pool"
rm /srv/newer/pool/*python3.11*.deb
rename 3.11.99-1 /srv/newer/pool

for key in archive deadsnakes stranger; do
    gpg --batch --quiet --passphrase '' --quick-gen-key "$key" rsa2048 sign never
done
gpg --export archive >/srv/archive.gpg
gpg --armor --export deadsnakes >/srv/deadsnakes.asc

# repository FOLDER ORIGIN KEY SUITE... : write the indexes of a folder's pool. The first suite has all of it.
repository() {
    folder=$1 origin=$2 key=$3 packages=pool
    shift 3
    cd "$folder"
    for suite; do
        binary=dists/$suite/main/binary-$(dpkg --print-architecture)
        mkdir -p "$binary"
        apt-ftparchive packages $packages >"$binary/Packages"
        apt-ftparchive --option "APT::FTPArchive::Release::Origin=$origin" \
            --option "APT::FTPArchive::Release::Suite=$suite" --option "APT::FTPArchive::Release::Codename=$suite" \
            --option APT::FTPArchive::Release::Components=main \
            --option "APT::FTPArchive::Release::Architectures=$(dpkg --print-architecture)" \
            release "dists/$suite" >/tmp/Release
        gpg --batch --quiet --local-user "$key" --clearsign --output "dists/$suite/InRelease" /tmp/Release
        packages=/var/empty
        mkdir -p $packages
    done
}
for folder in ubuntu newer; do
    mkdir -p /srv/$folder/ubuntu
    mv /srv/$folder/pool /srv/$folder/ubuntu/
    repository /srv/$folder/ubuntu Ubuntu archive "$codename" "$codename-updates" "$codename-security"
done
repository /srv/empty LP-PPA-deadsnakes deadsnakes "$codename"
cp -r /srv/ppa /srv/stranger
repository /srv/ppa LP-PPA-deadsnakes deadsnakes "$codename"
repository /srv/stranger LP-PPA-deadsnakes stranger "$codename"
