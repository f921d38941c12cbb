# `make` alone lists what there is.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= python3
# This file's name, and how it is called: a project that has a Makefile has this one as image.mk.
self := $(firstword $(MAKEFILE_LIST))
make := make$(if $(filter-out Makefile,$(self)), -f $(self))
# As in the Dockerfile's stages uv and tools: for an index that stalls.
export POETRY_REQUESTS_TIMEOUT ?= 90
export POETRY_REQUESTS_MAX_RETRIES ?= 3
# The choices that `make NAME=value` hands on to the scripts.
export BUILD BASE_IMAGE INDEX_URL TORCH_INDEX_URL APT_MIRROR PPA_URL WHEELS
export DEPENDENCY_GROUPS DEV_GROUPS EXTRAS PRUNE POETRY_INSTALLER POETRY_INSTALLER_URL
ifdef NETRC  # empty, it would hide ~/.netrc
export NETRC
endif
# As scripts/host.py does, for what a recipe starts itself: these name the repository of a git hook.
unexport $(filter-out GIT_SSH% GIT_SSL_% GIT_HTTP_% GIT_PROXY_% GIT_ASKPASS GIT_TERMINAL_PROMPT \
    GIT_EXEC_PATH GIT_CONFIG_GLOBAL GIT_CONFIG_%SYSTEM,$(filter GIT_%,$(.VARIABLES)))

.PHONY: help
help: ## list the targets
	@echo "$(make) run [BUILD=cpu|cu130]     … or any of these:"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  $(make) %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: ## build the image and train the sample in it; results in ./results
	@$(PYTHON) scripts/build.py

.PHONY: doctor
doctor: ## what the image can do on this machine
	@$(PYTHON) scripts/build.py python -m torchcrate doctor

.PHONY: shell
shell: ## your project in the dev image: a shell, or COMMAND='poetry add lightning'
	@$(PYTHON) scripts/build.py --dev $${COMMAND:+bash -c "$$COMMAND"}

.PHONY: image
image: ## build the image, run nothing
	@$(PYTHON) scripts/build.py --only-build

.PHONY: reproduce
reproduce: ## build the image twice from nothing and compare the layers, bit for bit
	@$(PYTHON) scripts/reproduce.py

# <!-- template -->
.PHONY: bench bench-quick
bench: .tools/tests/done ## measure against the article's shape and uv's: 1 to 2 hours, 55 GB; [ONLY=ours NO_BUMP=1]
	@$(tools) INDEX_URL="$$index" PYTHONPATH=scripts:benchmark:docker/locks .tools/tests/bin/python benchmark/bench.py $(if $(NO_BUMP),--no-bump) $(if $(ONLY),--only $(ONLY))

bench-quick: .tools/tests/done ## … with torch for the CPU
	@$(tools) INDEX_URL="$$index" PYTHONPATH=scripts:benchmark:docker/locks .tools/tests/bin/python benchmark/bench.py --quick $(if $(ONLY),--only $(ONLY))
# <!-- /template -->

.PHONY: test
test: .tools/tests/done ## hold your images, GPU and CPU, to what they promise: see reports/contract.md
	@$(call beside,cpu,-m cpu $(PYTEST_ARGS)); \
	    ( $(pytest) -m "(real $(tests-of-the-template)) and not cpu and not slow" $(PYTEST_ARGS) ) || code=1; \
	    $(call both,cpu,The CPU image)

# <!-- template -->
.PHONY: test-all
test-all: .tools/tests/done ## the tests that `make test` leaves out: stub images, broken ones, builds, publishing
	@$(call beside,projects,-m template); \
	    ( $(pytest) -m "not unit and not template and not real and not slow" $(PYTEST_ARGS) ) || code=1; \
	    $(call both,projects,Making projects)

.PHONY: test-slow
test-slow: .tools/tests/done ## what takes too long for each commit; a test that is skipped fails
	@$(pytest) -m slow --no-skips $(PYTEST_ARGS)
# <!-- /template -->

.PHONY: test-fast
test-fast: .tools/tests/done ## the tests that need no real torch: after an edit of a Dockerfile
	@$(pytest) -m "unit or stub" $(PYTEST_ARGS)

# Two at once, since much of a test is waiting: beside has one go on while another runs, and both says
# how it ended and fails if either did. Nothing to run, as PYTEST_ARGS may have it, is no failure (5).
# Where make is stopped, the trap ends the other one too, by its id: hence the exec in pytest.
reports = reports/$(addsuffix /,$(filter test-%,$@))
beside = mkdir -p $(reports)$(1); ( export BESIDE=yes; $(pytest:junit.xml=$(1)/junit.xml) $(2) ) > $(reports)$(1).log 2>&1 & other=$$!; \
    trap 'kill $$other 2> /dev/null && wait $$other || true' EXIT
both = echo "$(2): $(reports)$(1).log"; wait $$other || [ $$? = 5 ] || { code=1; cat $(reports)$(1).log; }; \
    tail -n 1 $(reports)$(1).log; exit $${code:-0}

.PHONY: check
check: .tools/tests/done ## hold the contract against an image: IMAGE=name:tag BUILD=cpu [STAGE=dev]
	@$(pytest) tests/images/contract --image=$(or $(IMAGE),$(error name the image: make check IMAGE=name:tag)) \
	    $(if $(BUILD),--build=$(BUILD)) $(if $(STAGE),--stage=$(STAGE)) $(PYTEST_ARGS)

.PHONY: add
add: .tools/poetry/done ## add a dependency to pyproject.toml and poetry.lock: NAME='lightning>=2.5'
	@$(tools) .tools/poetry/bin/python scripts/add.py add $(call package,add)

.PHONY: remove
remove: .tools/poetry/done ## take a dependency out of pyproject.toml and poetry.lock: NAME=lightning
	@$(tools) .tools/poetry/bin/python scripts/add.py remove $(call package,remove)

.PHONY: lock
lock: .tools/poetry/done ## bring the locks up to date; with BUILD=<build>: add a torch build
	@$(tools) .tools/poetry/bin/python scripts/lock.py \
	    $(if $(BUILD),--build $(BUILD)) $(if $(WHEELS),--wheels '$(WHEELS)') $(if $(DIGESTS),--digests '$(DIGESTS)')

.PHONY: lock-check
lock-check: .tools/poetry/done ## do the locks, the Dockerfiles, the bake file and the workflow agree?
	@$(tools) .tools/poetry/bin/python scripts/lock_check.py

.PHONY: venv
venv: .tools/poetry/done ## the image's environment as a local .venv, from the same locks: [BUILD=cpu]
	@$(tools) .tools/poetry/bin/python scripts/venv.py

# <!-- template -->
.PHONY: adopt
adopt: .tools/poetry/done ## bring the images into a Poetry project: INTO=../project [BUILD= CODE= COMMAND= REPLACE=1]
	@$(tools) .tools/poetry/bin/python scripts/adopt.py "$(or $(INTO),$(error name the project: make adopt INTO=../project))" \
	    $(if $(BUILD),--build $(BUILD)) $(if $(CODE),--code '$(CODE)') $(if $(COMMAND),--command '$(COMMAND)') \
	    $(if $(REPLACE),--replace)
# <!-- /template -->

.PHONY: lint
lint: .tools/tests/done ## pre-commit on all files
	@.tools/tests/bin/pre-commit run --all-files

.PHONY: ci
ci: .tools/tests/done ## run the workflow here, with act: 25 minutes and 20 GB; [BUILD=cu130]
	@.tools/tests/bin/python scripts/ci_here.py $(BUILD)

.PHONY: init
init: .tools/tests/done ## make the template your project, in here or INTO=folder: NAME=my-project (or it asks)
	@.tools/tests/bin/python scripts/init.py $(call given,NAME,name) $(call given,PACKAGE,package) \
	    $(call given,DESCRIPTION,description) $(call given,AUTHOR,author) $(call given,IMAGE,image) \
	    $(call given,REPOSITORY,repository) $(call given,INTO,into)

.PHONY: update
update: .tools/tests/done ## merge a newer template into your project: TEMPLATE=address [REF=main]
	@.tools/tests/bin/python scripts/update.py $(call given,TEMPLATE,template) $(call given,REF,ref)

# NAME, where it is given to make itself, each word quoted: the shell would take lightning>=2.5 apart.
package = $(if $(filter command,$(origin NAME)),$(foreach word,$(NAME),'$(word)'),$(error say which package: make $(1) NAME=lightning))

# A flag, where the variable is given to make itself: NAME, say, means something else in some
# machines' environment. The shell takes the value, so that it may hold anything but make's own $.
given = $(if $(filter command,$(origin $(1))),--$(2)="$$$(1)")

.PHONY: engine-stop
engine-stop: ## stop the private Docker Engine, if one was started
	@$(PYTHON) scripts/engine.py down

.PHONY: engine-remove
engine-remove: ## … and delete it with all its images
	@$(PYTHON) scripts/engine.py remove

# Dockerfile.cpu differs in its first lines, the default build, and what only a GPU needs.
Dockerfile.cpu: Dockerfile $(self)
	sed -e '1s/.*/# The CPU image, made from Dockerfile by `$(make) Dockerfile.cpu`: edit that one./' \
	    -e 's/docker build /docker build -f Dockerfile.cpu /' \
	    -e 's/^ARG TORCH_BUILD=.*/ARG TORCH_BUILD=cpu/' \
	    -e '/^# GPU only/d' -e '/^ENV NVIDIA_/d' Dockerfile > $@.new
	mv $@.new $@

# Likewise: another name and Dockerfile, and no GPU asked for.
.devcontainer/cpu/devcontainer.json: .devcontainer/gpu/devcontainer.json Makefile
	sed -e '1s/.*/\/\/ Made from the one in gpu\/ by `make $(subst /,\/,$@)`: edit that one./' \
	    -e 's/on the GPU/on the CPU/' -e 's/Dockerfile"/Dockerfile.cpu"/' \
	    -e '/hostRequirements/d' $< > $@.new
	mv $@.new $@

# Poetry and uv as locks/ pins them, for `make lock` and `make test`.
.tools/poetry/done: locks/poetry.txt locks/uv.txt
	@$(tools) $(PYTHON) scripts/environments.py poetry

# What the tests need, and no torch.
.tools/tests/done: .tools/poetry/done poetry.lock
	@$(tools) $(PYTHON) scripts/environments.py tests

# <!-- template -->
tests-of-the-template = or unit
# <!-- /template -->
pytest = index=$$($(PYTHON) scripts/host.py) && INDEX_URL="$$index" exec .tools/tests/bin/python -m pytest -c tests/images/pytest.ini --rootdir=. --junit-xml=$(reports)junit.xml

# How the recipes above find Poetry and uv, and the index that this machine uses. VIRTUAL_ENV keeps
# Poetry from making an environment of its own just to write a lock; git itself, unlike the client
# that Poetry has built in, minds ~/.netrc and the system's certificates.
tools = index=$$($(PYTHON) scripts/host.py) && \
    PATH="$$PWD/.tools/uv/bin:$$PWD/.tools/poetry/bin:$$PATH" PYTHONPATH="$$PWD/docker/locks" \
    UV_DEFAULT_INDEX="$$index" POETRY_PYPI_MIRROR_URL="$$index" UV_SYSTEM_CERTS=true \
    POETRY_SYSTEM_GIT_CLIENT=true VIRTUAL_ENV="$$PWD/.tools/poetry"
