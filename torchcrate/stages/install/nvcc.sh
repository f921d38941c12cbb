# shellcheck shell=bash
# nvcc.sh : find NVIDIA's compiler for torch's CUDA version, and set what setup scripts read. Scripts source it.
#
# shellcheck disable=SC2154
# `cuda` is that version, such as 13.0, and `prefix` where the build's packages are. The compiler is theirs
# (locks/nvcc.<build>.txt), or one of apt/builder.txt. It exports CUDA_HOME, TORCH_CUDA_ARCH_LIST, MAX_JOBS and more.
stop() {
    echo >&2 "ERROR: $1"
    exit 1
}

packages=lib/python3.11/site-packages/nvidia/cu${cuda%.*}
if [ -x "$prefix/$packages/bin/nvcc" ]; then
    export CUDA_HOME=$prefix/$packages
    # One tree, with the headers and libraries of torch's own CUDA packages, and with the names that linkers look for.
    [ "$prefix" = "$VIRTUAL_ENV" ] \
        || cp --recursive --symbolic-link --remove-destination "$VIRTUAL_ENV/$packages/." "$CUDA_HOME/"
    ln -sfn lib "$CUDA_HOME/lib64"
    for library in "$CUDA_HOME"/lib/lib*.so.*; do
        [ -e "${library%.so.*}.so" ] || ln -s "${library##*/}" "${library%.so.*}.so"
    done
else
    nvcc=$(ls /usr/local/cuda-"$cuda"/bin/nvcc 2>/dev/null || command -v nvcc) \
        || stop "torch's CUDA $cuda has no nvcc in wheels, and the group torch-extensions needs one: take a torch of CUDA 13 or newer (./crate lock --build cu130), or name NVIDIA's packages in apt/builder.txt (cuda-nvcc-${cuda/./-} and cuda-libraries-dev-${cuda/./-}, with a BASE_IMAGE that has NVIDIA's apt repository)."
    CUDA_HOME=$(dirname "$(dirname "$(readlink -f "$nvcc")")")
    export CUDA_HOME
    grep -q "release $cuda," <<<"$("$nvcc" --version)" \
        || stop "$nvcc is not of torch's CUDA $cuda: name the package of that version in apt/builder.txt (cuda-nvcc-${cuda/./-})."
fi
export PATH="$CUDA_HOME/bin:$PATH" FORCE_CUDA=1
# Without these some builds download a wheel that nobody has checked.
export FLASH_ATTENTION_FORCE_BUILD=TRUE CAUSAL_CONV1D_FORCE_BUILD=TRUE MAMBA_FORCE_BUILD=TRUE

# GPU generations, as PyTorch names them: https://docs.pytorch.org/docs/stable/cpp_extension.html
known=$("$CUDA_HOME/bin/nvcc" --list-gpu-arch | sed -En 's/^compute_([0-9]+)([0-9])$/\1.\2/p')
TORCH_CUDA_ARCH_LIST=${TORCH_CUDA_ARCH_LIST-}
TORCH_CUDA_ARCH_LIST=${TORCH_CUDA_ARCH_LIST//,/;}
if [ -z "$TORCH_CUDA_ARCH_LIST" ]; then
    TORCH_CUDA_ARCH_LIST=$("$VIRTUAL_ENV/bin/python" -c '
import re, torch
found = re.findall(r"code=sm_(\d+)(\d)", torch.__config__.show())
print(*dict.fromkeys(map(".".join, found)), sep=";")' 2>/dev/null || true)
    TORCH_CUDA_ARCH_LIST=${TORCH_CUDA_ARCH_LIST:-${known//$'\n'/;}}
    echo "TORCH_CUDA_ARCH_LIST is $TORCH_CUDA_ARCH_LIST: --build-arg TORCH_CUDA_ARCH_LIST=9.0 takes less time"
fi
for architecture in ${TORCH_CUDA_ARCH_LIST//;/ }; do
    number=${architecture%+PTX}
    case $number in
    Maxwell* | Pascal | Volta | Turing | Ampere* | Ada | Hopper | Blackwell*) ;;
    *) grep -qxF "${number%[af]}" <<<"$known" \
        || stop "CUDA $cuda cannot compile for TORCH_CUDA_ARCH_LIST=$architecture: it knows ${known//$'\n'/, }." ;;
    esac
done
numbers=${TORCH_CUDA_ARCH_LIST//+PTX/}
export TORCH_CUDA_ARCH_LIST FLASH_ATTN_CUDA_ARCHS=${numbers//./}

# A compiler of a large extension takes up to 5 GB, and that for each of its threads.
export NVCC_THREADS=${NVCC_THREADS:-1}
memory=$(awk '/MemAvailable/ { print int($2 / 5 / 1000 / 1000) }' /proc/meminfo)
jobs=$(nproc)
export MAX_JOBS=${MAX_JOBS:-$((memory < 1 ? 1 : memory < jobs ? memory : jobs))}
