#!/bin/sh
# Write a statement of what is in the folder BUILDKIT_SCAN_SOURCE to BUILDKIT_SCAN_DESTINATION.
set -eu
/syft scan --quiet --output spdx-json=/tmp/found.json "dir:$BUILDKIT_SCAN_SOURCE"
{
    printf '{"_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://spdx.dev/Document", "predicate": '
    cat /tmp/found.json
    printf '}'
} >"$BUILDKIT_SCAN_DESTINATION/sbom.spdx.json"
