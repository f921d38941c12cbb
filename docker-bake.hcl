# The images by name: `docker buildx bake` builds gpu and cpu, `docker buildx bake gpu-dev` one more.
# Each variable can be set in the environment; torchcrate/build.py, behind `./crate`, sets them for you.

variable "IMAGE" { default = "torchcrate" }
variable "BASE_IMAGE" { default = "ubuntu:22.04" }

# The CUDA build of the gpu targets: the name of a file locks/torch.<build>.txt.
variable "TORCH_BUILD" { default = "cu130" }

# Your project's version, for the image's label.
variable "VERSION" { default = "" }

# Mirrors and a folder of wheels; empty: the public ones, and none.
variable "INDEX_URL" { default = "" }
variable "TORCH_INDEX_URL" { default = "" }
variable "APT_MIRROR" { default = "" }
variable "PPA_URL" { default = "" }
variable "WHEELS" { default = "" }

# Groups and extras of pyproject.toml, with commas; empty: as the Dockerfile has it.
variable "DEPENDENCY_GROUPS" { default = "" }
variable "DEV_GROUPS" { default = "" }
variable "EXTRAS" { default = "" }

# `no` keeps what torchcrate/stages/torch/prune.txt lists; empty: as the Dockerfile has it.
variable "PRUNE" { default = "" }

# A proxy to download through. Docker keeps these three out of the image's history.
variable "HTTP_PROXY" { default = "" }
variable "HTTPS_PROXY" { default = "" }
variable "NO_PROXY" { default = "" }

# Files that reach no layer: the certificates to trust, where a proxy signs TLS anew, and the
# passwords of private indexes.
variable "CA_BUNDLE" { default = "" }
variable "NETRC" { default = "" }

# For CI. Where the build cache is: a repository in a registry, or `gha`, GitHub's own, which has room
# for the CPU image's; empty: nowhere. Each image has a scope to itself, so that none overwrites
# another's.
variable "CACHE" { default = "" }

# `yes` writes it too.
variable "CACHE_WRITE" { default = "" }

# The image that lists what is in ours, for an SBOM beside it; empty: neither that nor provenance.
variable "SBOM_GENERATOR" { default = "" }

function "cache" {
  params = [build]
  result = join("", [
    CACHE == "gha" ? "type=gha,scope=" : "type=registry,ref=${CACHE}:",
    "${build}-${split("/", BAKE_LOCAL_PLATFORM)[1]}",
  ])
}

# With the stages (mode=max), so that an edit of the dependencies runs no step but theirs. What ails
# the cache ails no build.
function "cache_to" {
  params = [build]
  result = "${cache(build)},mode=max,compression=zstd,ignore-error=true"
}

group "default" { targets = ["gpu", "cpu"] }

target "common" {
  # null: as the Dockerfile has it.
  args = {
    BASE_IMAGE        = BASE_IMAGE
    VERSION           = VERSION
    INDEX_URL         = INDEX_URL
    TORCH_INDEX_URL   = TORCH_INDEX_URL
    APT_MIRROR        = APT_MIRROR
    PPA_URL           = PPA_URL == "" ? null : PPA_URL
    DEPENDENCY_GROUPS = DEPENDENCY_GROUPS == "" ? null : DEPENDENCY_GROUPS
    DEV_GROUPS        = DEV_GROUPS == "" ? null : DEV_GROUPS
    EXTRAS            = EXTRAS == "" ? null : EXTRAS
    PRUNE             = PRUNE == "" ? null : PRUNE
    HTTP_PROXY        = HTTP_PROXY == "" ? null : HTTP_PROXY
    HTTPS_PROXY       = HTTPS_PROXY == "" ? null : HTTPS_PROXY
    NO_PROXY          = NO_PROXY == "" ? null : NO_PROXY
  }
  contexts = WHEELS == "" ? {} : { wheels = WHEELS }
  secret = concat(
    CA_BUNDLE == "" ? [] : ["type=file,id=ca,src=${CA_BUNDLE}"],
    NETRC == "" ? [] : ["type=file,id=netrc,src=${NETRC}"],
  )
  attest = SBOM_GENERATOR == "" ? [] : [
    "type=provenance,mode=max",
    "type=sbom,generator=${SBOM_GENERATOR}",
  ]
}

target "gpu" {
  inherits   = ["common"]
  args       = { TORCH_BUILD = TORCH_BUILD }
  tags       = ["${IMAGE}:${TORCH_BUILD}"]
  cache-from = CACHE == "" ? [] : [cache(TORCH_BUILD)]
  cache-to   = CACHE_WRITE == "yes" ? [cache_to(TORCH_BUILD)] : []
}

target "cpu" {
  inherits   = ["common"]
  dockerfile = "Dockerfile.cpu"
  tags       = ["${IMAGE}:cpu"]
  cache-from = CACHE == "" ? [] : [cache("cpu")]
  cache-to   = CACHE_WRITE == "yes" ? [cache_to("cpu")] : []
}

target "gpu-dev" {
  inherits = ["gpu"]
  target   = "dev"
  tags     = ["${IMAGE}:${TORCH_BUILD}-dev"]
}

target "cpu-dev" {
  inherits = ["cpu"]
  target   = "dev"
  tags     = ["${IMAGE}:cpu-dev"]
}
