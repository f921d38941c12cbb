# The images by name. `docker buildx bake` builds `gpu` and `cpu`, `docker buildx bake gpu-dev` one more.
# To change a variable, set it in the environment; `./crate` does so for you.
# null: the Dockerfile's own default (https://docs.docker.com/build/bake/reference/#variable).

variable "IMAGE" { default = "torchcrate" }

# The torch build of the gpu images: the name of a file locks/torch.<build>.txt.
variable "TORCH_BUILD" { default = "cu130" }

# An image to start from, and your project's version for the label.
variable "BASE_IMAGE" { default = null }
variable "VERSION" { default = null }

# Mirrors.
variable "INDEX_URL" { default = null }
variable "TORCH_INDEX_URL" { default = null }
variable "APT_MIRROR" { default = null }
variable "PPA_URL" { default = null }

# Groups and extras of pyproject.toml, separated by commas.
variable "DEPENDENCY_GROUPS" { default = null }
variable "DEV_GROUPS" { default = null }
variable "EXTRAS" { default = null }

# GPU generations to compile the group torch-extensions for, such as 8.0;9.0.
variable "TORCH_CUDA_ARCH_LIST" { default = null }

# `no` keeps the files that torchcrate/stages/install/prune.txt lists.
variable "PRUNE" {
  default = null
  validation {
    condition     = PRUNE == null ? true : contains(["yes", "no"], PRUNE)
    error_message = "PRUNE is neither yes nor no: choose one."
  }
}

# A repository for the build cache, such as ghcr.io/OWNER/PROJECT/cache: to read it from, and to write it to.
variable "CACHE_FROM" { default = "" }
variable "CACHE_TO" { default = "" }
function "cache" {
  params = [repository, build]
  result = "type=registry,ref=${lower(repository)}:${build}-${split("/", BAKE_LOCAL_PLATFORM)[1]}"
}
function "export" {
  params = [build]
  result = CACHE_TO == "" ? [] : ["${cache(CACHE_TO, build)},mode=max,compression=zstd,ignore-error=true"]
}

# A proxy to download through. Docker keeps these out of the image's history
# (https://docs.docker.com/reference/dockerfile/#predefined-args).
variable "HTTP_PROXY" { default = null }
variable "HTTPS_PROXY" { default = null }
variable "NO_PROXY" { default = null }

# A folder with torch's wheels.
variable "WHEELS" { default = null }

# Files for build secrets, which reach no layer: the certificates to trust where a proxy re-signs TLS,
# and the passwords of private indexes.
variable "CA_BUNDLE" { default = null }
variable "NETRC" { default = null }

group "default" { targets = ["gpu", "cpu"] }

target "common" {
  args = {
    BASE_IMAGE           = BASE_IMAGE
    VERSION              = VERSION
    INDEX_URL            = INDEX_URL
    TORCH_INDEX_URL      = TORCH_INDEX_URL
    APT_MIRROR           = APT_MIRROR
    PPA_URL              = PPA_URL
    DEPENDENCY_GROUPS    = DEPENDENCY_GROUPS
    DEV_GROUPS           = DEV_GROUPS
    EXTRAS               = EXTRAS
    TORCH_CUDA_ARCH_LIST = TORCH_CUDA_ARCH_LIST
    PRUNE                = PRUNE
    HTTP_PROXY           = HTTP_PROXY
    HTTPS_PROXY          = HTTPS_PROXY
    NO_PROXY             = NO_PROXY
  }
  contexts = WHEELS == null ? {} : { wheels = WHEELS }
  # Compressed as in the cache, so that torch is compressed once.
  output = CACHE_TO == "" ? [] : ["type=image,compression=zstd,oci-mediatypes=true,unpack=true"]
  secret = [
    CA_BUNDLE == null ? "" : "type=file,id=ca,src=${CA_BUNDLE}",
    NETRC == null ? "" : "type=file,id=netrc,src=${NETRC}",
  ]
}

target "gpu" {
  inherits   = ["common"]
  args       = { TORCH_BUILD = TORCH_BUILD }
  cache-from = CACHE_FROM == "" ? [] : [cache(CACHE_FROM, TORCH_BUILD)]
  cache-to   = export(TORCH_BUILD)
  tags       = ["${IMAGE}:${TORCH_BUILD}"]
}

target "cpu" {
  inherits   = ["common"]
  dockerfile = "Dockerfile.cpu"
  cache-from = CACHE_FROM == "" ? [] : [cache(CACHE_FROM, "cpu")]
  cache-to   = export("cpu")
  tags       = ["${IMAGE}:cpu"]
}

target "gpu-dev" {
  inherits = ["gpu"]
  target   = "dev"
  cache-to = [] # would replace that of runtime
  tags     = ["${IMAGE}:${TORCH_BUILD}-dev"]
}

target "cpu-dev" {
  inherits = ["cpu"]
  target   = "dev"
  cache-to = [] # would replace that of runtime
  tags     = ["${IMAGE}:cpu-dev"]
}
