# make help      what there is
# make demo      one upgrade and one rollback on this machine (root)
# make test      everything that has to pass before a change goes in

PYTHON3 ?= python3
VENV    ?= .venv
PYTHON  := $(VENV)/bin/python
STAMP   := $(VENV)/.installed

# tool:Debian package; what the demo and the tests marked `real` call.
SYSTEM_TOOLS := mkfs.btrfs:btrfs-progs lxc-start:lxc mmdebstrap:mmdebstrap ip:iproute2 losetup:util-linux ssh-keygen:openssh-client \
                runc:runc systemd-nspawn:systemd-container
TEST_TOOLS   := strace:strace busybox:busybox-static sshd:openssh-server ss:iproute2 crun:crun sudo:sudo \
                mkfs.xfs:xfsprogs setfacl:acl lvs:lvm2 chromium:chromium promtool:prometheus

APT_INSTALL := DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends
WITH_VENV   := PATH="$(abspath $(VENV))/bin:$$PATH:/usr/sbin:/sbin"
# A worker for each processor; `make test PYTEST_ARGS=-n0` runs them one after the other, for a debugger.
PYTEST_ARGS := -n auto
PIP         := PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore $(PYTHON) -m pip --quiet --no-input

.PHONY: help setup system-packages demo clean-demo lint test test-unprivileged test-vm test-vm-drivers vm-packages power-cuts \
    bench bench-ledger clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | awk -F'|' '{ printf "  %-20s %s\n", $$1, $$2 }'


# ---- Setting up -----------------------------------------------------------------------------------------------------

setup: $(STAMP) ## Make .venv from requirements.lock, with rootswap in it (needs no root)

# From scratch whenever the lock changes, so that the environment is the lock and nothing else.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON3) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "cannot set up: $(PYTHON3) is missing or older than 3.11; name another one: make setup PYTHON3=/path/to/python3" >&2; exit 1; }
	@$(PYTHON3) -c 'import ensurepip, venv' 2>/dev/null || \
	    { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -q && $(APT_INSTALL) python3-venv; } || \
	    { echo "cannot set up: $(PYTHON3) has no venv; as root: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON3) -m venv --clear $(VENV)
	$(PIP) install --require-hashes --no-deps -r requirements.lock
	$(PIP) install --no-build-isolation --no-deps --no-index -e .
	@# Root runs it: nothing is imported from where PYTHONPATH, PYTHONHOME or the user's own site-packages lead.
	@sed '1s|^\(#!/.*/python[0-9.]*\)$$|\1 -I|' $(VENV)/bin/rootswap > $(STAMP) && cat $(STAMP) > $(VENV)/bin/rootswap
	$(PIP) check
	@touch $@

# $(call install-tools,tool:package ...): install the packages of the tools that are not there.
define install-tools
	@PATH="$$PATH:/usr/sbin:/sbin"; missing=; \
	for pair in $(1); do command -v "$${pair%%:*}" >/dev/null || missing="$$missing $${pair##*:}"; done; \
	test -n "$$missing" || exit 0; \
	test "$$(id -u)" = 0 || { echo "cannot install$$missing: not root; as root: apt-get install$$missing" >&2; exit 1; }; \
	command -v apt-get >/dev/null || { echo "cannot install$$missing: no apt-get here; install them by other means" >&2; exit 1; }; \
	echo "installing$$missing"; \
	apt-get update -q && $(APT_INSTALL) $$missing
endef

system-packages: ## Install the Debian packages that demo and test call, if missing (root)
	$(call install-tools,$(SYSTEM_TOOLS) $(TEST_TOOLS))


# ---- Seeing it work -------------------------------------------------------------------------------------------------

demo: setup ## Upgrade a container and roll it back, on loop devices (root)
	$(call install-tools,$(SYSTEM_TOOLS))
	$(WITH_VENV) tests/demo/run

clean-demo: ## Remove whatever the demo left on this machine (root)
	$(WITH_VENV) tests/demo/run clean

bench: setup ## Measure downtime and commits against their floors (root)
	$(call install-tools,$(SYSTEM_TOOLS) $(TEST_TOOLS))
	$(WITH_VENV) $(PYTHON) -m tests.benchmarks

RECORDS ?= 1000000
bench-ledger: setup ## Measure a ledger of RECORDS=1000000 against its floors
	$(call install-tools,ssh-keygen:openssh-client)
	$(WITH_VENV) $(PYTHON) -m tests.benchmarks.ledgers $(RECORDS)


# ---- Checking -------------------------------------------------------------------------------------------------------

lint: setup ## Style, types and architecture
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-logo

# Root runs all tests, and those that need no root once more without it. Anyone else runs the latter only.
test: lint ## lint, then the tests (as root: all of them)
	@if test "$$(id -u)" = 0; then \
	    $(MAKE) --no-print-directory system-packages && $(WITH_VENV) $(PYTHON) -m pytest $(PYTEST_ARGS) && \
	    $(MAKE) --no-print-directory test-unprivileged; \
	else \
	    echo "not root: leaving out the tests marked real (Btrfs, LXC)"; $(WITH_VENV) $(PYTHON) -m pytest $(PYTEST_ARGS) -m "not real"; \
	fi

# The user nobody may not be able to read this directory, nor the Python that .venv was made with (one in root's home).
# So the sources and the installed packages are copied to /tmp, under a Python of the same version that nobody can run.
# (env, because setpriv still holds root's capabilities while it looks up what it starts.)
NOBODY := setpriv --reuid=nobody --regid="$$(id -g nobody)" --clear-groups env
VERSION_OF := -c 'import sys; print("python%d.%d" % sys.version_info[:2])'

test-unprivileged: setup ## The tests that need no root, as the user nobody (started by root)
	@test "$$(id -u)" = 0 || { echo "cannot become nobody: not root; make test runs these tests as you" >&2; exit 1; }
	@set -eu; cd "$(CURDIR)"; work=$$(mktemp -d /tmp/rootswap-nobody.XXXXXX); trap 'rm -rf "$$work"' EXIT; \
	version=$$($(PYTHON) $(VERSION_OF)); base=$$($(PYTHON) -c 'import os, sys; print(os.path.realpath(sys.executable))'); \
	chmod 755 "$$work"; mkdir "$$work/src" "$$work/home" "$$work/tmp"; \
	for python in "$$base" "/usr/bin/$$version" none; do \
	    test "$$($(NOBODY) "$$python" $(VERSION_OF) 2>/dev/null)" != "$$version" || break; \
	done; \
	test "$$python" != none || { echo "cannot test as nobody: nobody can run neither $$base nor /usr/bin/$$version;" \
	    "set up with another one: make clean test PYTHON3=/usr/bin/python3" >&2; exit 1; }; \
	tar -c --exclude=./.git --exclude=./.venv --exclude='./.*_cache' --exclude=./.hypothesis --exclude=__pycache__ . | \
	    tar -x --no-same-owner -C "$$work/src"; \
	"$$python" -m venv --without-pip "$$work/src/.venv"; \
	cp -R $(VENV)/lib/$$version/site-packages/. "$$work/src/.venv/lib/$$version/site-packages/"; \
	cd "$$work/src"; \
	PIP_ROOT_USER_ACTION=ignore .venv/bin/python -m pip install -q --no-build-isolation --no-deps --no-index -e .; \
	sed -i '1s|^\(#!/.*/python[0-9.]*\)$$|\1 -I|' .venv/bin/rootswap; \
	chown -R nobody "$$work"; \
	echo "as nobody, with $$python:"; \
	$(NOBODY) HOME="$$work/home" TMPDIR="$$work/tmp" PATH="$$work/src/.venv/bin:/usr/bin:/bin:/usr/sbin:/sbin" \
	    .venv/bin/python -m pytest $(PYTEST_ARGS) -m "not real and not sweep" -q -p no:cacheprovider

VM_TOOLS := qemu-system-x86_64:qemu-system-x86 qemu-img:qemu-utils mmdebstrap:mmdebstrap mke2fs:e2fsprogs \
            busybox:busybox-static setpriv:util-linux

# The first time they build a Debian guest and compile ZFS for its kernel; both are kept in $ROOTSWAP_VM_CACHE. Two guests
# are at work, one storage each at a time.
define test-in-vm
	@test "$$(id -u)" = 0 || { echo "leaving out the virtual machine tier: not root, which building its disk needs"; exit 0; }; \
	$(MAKE) --no-print-directory vm-packages && \
	ROOTSWAP_VM=1 $(WITH_VENV) $(PYTHON) -m pytest -n 2 --durations 0 --durations-min 1 $(1)
endef

test-vm: setup ## Real ZFS and LVM, and boots with systemd, in an emulated machine (root)
	$(call test-in-vm,tests/vm --ignore tests/vm/test_drivers.py)

test-vm-drivers: setup ## What the ZFS and LVM drivers are held to beyond the contract, in the same machine (root)
	$(call test-in-vm,tests/vm/test_drivers.py)

vm-packages:
	$(call install-tools,$(VM_TOOLS))

N    ?= 60
SEED ?= $(shell shuf -i 0-999999 -n 1)

# As many guests at a time as there are processors. STORAGE="btrfs zfs" chooses; LOG=FILE notes each cut there. With
# BUILD=unsynced or BUILD=late the engine is broken on purpose, and it fails unless a cut catches that.
power-cuts: setup vm-packages ## Cut the power N times during upgrades and rollbacks: N=500 SEED=1 (root)
	$(WITH_VENV) $(PYTHON) -m tests.vm.campaign $(N) $(SEED) $(STORAGE) $(if $(BUILD),--build $(BUILD)) $(if $(LOG),--log $(LOG))

clean: ## Remove what setup, lint and test made (not the demo: clean-demo)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
