#!/bin/bash
# sources.sh REQUIREMENTS [BUILD] : build packages from source and install them into /layers/1/app/.venv.
#
# For what has no wheel, or comes from git or packages/. It installs the compiler and the lists in apt/ first. With
# BUILD, requirements too, the builds use the environment with torch, and these: a package that links to torch works only
# with the torch that it was compiled with. So no wheel is taken from an index, and no build gets an environment of its
# own, with another torch. /metadata/1 gets the metadata of all packages there. With TREE= it installs into /app/.venv.
set -euo pipefail
requirements=$1 build=${2:-} tree=${TREE-/layers/1}
# shellcheck source=/dev/null
. "${0%/*}/env.sh"

finish() {
    if [ "$tree" ]; then
        mkdir -p /metadata/1 "$tree$VIRTUAL_ENV"
        # Without uv's note of when it built a package from a folder.
        find "$tree" -name 'uv_*.json' -path '*.dist-info/*' -delete
        find "$tree" -name RECORD -exec sed -i '/\.dist-info\/uv_[a-z]*\.json,/d' {} +
        find "$VIRTUAL_ENV" "$tree$VIRTUAL_ENV" -mindepth 4 -maxdepth 4 -name '*.dist-info' \
            -exec cp -r -t /metadata/1 {} +
        python3.11 -B "${0%/*}/finish_tree.py" "$tree"
    fi
}
if ! [ -s "$requirements" ]; then
    finish
    exit
fi
if [ "$tree" ]; then
    /mnt/apt/install.sh /mnt/lists/builder.txt /mnt/lists/runtime.txt
fi

set -- --no-deps --python "$VIRTUAL_ENV"
if [ "$build" ]; then
    prefix=/tmp/build cuda=$(cat "${build%/*}/cuda.txt")
    /opt/uv/bin/uv pip install --quiet "$@" --prefix $prefix --requirement "$build"
    export PATH="$prefix/bin:$PATH" PYTHONPATH=$prefix/lib/python3.11/site-packages
    set -- "$@" --no-build-isolation
    if [ "$cuda" ]; then
        # shellcheck source=/dev/null
        . "${0%/*}/nvcc.sh"
    fi
fi
/opt/uv/bin/uv pip install "$@" --prefix "$tree$VIRTUAL_ENV" --requirement "$requirements" 2>&1 | tee /tmp/install.log || {
    lacks=$(sed -En "s/.*ModuleNotFoundError: No module named '(\w+).*/\1/p" /tmp/install.log | tail -n 1)
    [ "$lacks" != pkg_resources ] || lacks="'setuptools<82'"
    if grep -Eqi 'Killed|signal 9|out of memory|cannot allocate' /tmp/install.log; then
        echo >&2 "ERROR: the memory was not enough to compile (see above): give the builder more than" \
            "$(awk '/MemTotal/ { print int($2 / 1024 / 1024) }' /proc/meminfo) GiB, or name fewer GPU generations" \
            "with --build-arg TORCH_CUDA_ARCH_LIST=9.0."
    elif [ "$build" ]; then
        echo >&2 "ERROR: the group torch-extensions was not compiled (see above): what the build itself lacks goes" \
            "into the group torch-extensions-build (./crate add --group torch-extensions-build ${lacks:-NAME}), and a" \
            "library or compiler into apt/builder.txt."
    else
        echo >&2 "ERROR: a package of poetry.lock was not built from source (see above): a library or compiler" \
            "that it lacks goes into apt/builder.txt, for instance libsndfile1-dev. If its build imports torch, it" \
            "goes into a group: ./crate remove NAME, then ./crate add --group torch-extensions NAME."
    fi
    exit 1
}
rm -rf /tmp/build /tmp/install.log
finish
