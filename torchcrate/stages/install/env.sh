# shellcheck shell=sh
# env.sh : settings for the programs that download. Scripts source it.

# The build secret `ca`: a proxy's certificate is trusted while a step runs, and is in no layer
# (https://docs.docker.com/build/building/secrets/).
if [ -s /run/secrets/ca ]; then
    export SSL_CERT_FILE=/run/secrets/ca PIP_CERT=/run/secrets/ca REQUESTS_CA_BUNDLE=/run/secrets/ca \
        CURL_CA_BUNDLE=/run/secrets/ca GIT_SSL_CAINFO=/run/secrets/ca
fi
# A package index instead of the default one.
# Every file is checked by its hash, so an index of yours need not have https.
PIP_TRUSTED_HOST=$(printf %s "${INDEX_URL:-}" | sed -En 's#^http://([^/]+).*#\1#p')
export PIP_TRUSTED_HOST
export PIP_INDEX_URL="${INDEX_URL:-}" UV_DEFAULT_INDEX="${INDEX_URL:-}"
# A slow mirror needs more than 15 or 30 seconds. pip does not resume a download of gigabytes.
export UV_HTTP_TIMEOUT=90 PIP_DEFAULT_TIMEOUT=90
# uv checks the hash of what it downloads, not of what it has unpacked in its cache.
export UV_NO_CACHE=1
