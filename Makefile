# Everything a contributor runs. On Debian, as root, "make test" installs what it needs; elsewhere it says what is missing.
#
#   make test      lint, vet, and every test with the race detector, other people's tools required
#   make lint      linters and formatters alone
#   make bench     throughput and memory of whole flows, beside other tools in the same run
#   make fuzz      every fuzz target for FUZZTIME each, those of what reads the disks of others for READERTIME
#   make torture   kill -9 loops, KILLS rounds each; kill -9 at each change of backups, recoveries (PAIRS) and merges,
#                  and at each step of jobs, in the pool too;
#                  power cuts on real file systems, CUTS each (as root); writers that are stopped while others take
#                  over, STOPS times; locks of machines with wrong clocks, TAKES times;
#                  servers that crash, freeze and vanish while files are written, ROUNDS each (as root);
#                  JOBS backups in one process, which must have no more afterwards than before;
#                  DAMAGES damaged copies of each image of a volume, a tree of large files (as root);
#                  FLIPS flipped bits and ROTS damaged files that verification must name;
#                  faults of the pool and the network at each byte, call and session of a job;
#                  QUESTIONS random expressions, patterns and queries beside Xen Orchestra's libraries

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
GO ?= go
KILLS ?= 1000
CUTS ?= 500
PAIRS ?= 1000
STOPS ?= 200
TAKES ?= 10000
ROUNDS ?= 200
JOBS ?= 1000
QUESTIONS ?= 40000
SEEDS ?= 20000
DAMAGES ?= 600
FLIPS ?= 5000
ROTS ?= 3000
FUZZTIME ?= 60s
FUZZSMOKE ?= 1s
# fuzz tests at a time; starting one takes longer than the smoke of it
FUZZJOBS ?= 1
READERTIME ?= 10m
LINT_VERSION := v2.15.0
# Built once per machine and version, outside the checkout.
LINT_DIR := $(shell $(GO) env GOPATH)/xenbackup-tools/golangci-lint-$(LINT_VERSION)-$(shell $(GO) env GOVERSION)
LINT := $(LINT_DIR)/golangci-lint
# program=Debian package
PEERS := qemu-img=qemu-utils qemu-nbd=qemu-utils vhdiinfo=libvhdi-utils vhdimount=libvhdi-utils fusermount3=fuse3 fsck.ext4=e2fsprogs mkfs.xfs=xfsprogs gcc=gcc gcc=libc6-dev \
	node=nodejs npm=npm python3=python3 curl=curl xva-img=xva-img bsdtar=libarchive-tools unzip=unzip zstd=zstd \
	ganesha.nfsd=nfs-ganesha ganesha.nfsd=nfs-ganesha-vfs nfs-cp=libnfs-utils unshare=util-linux \
	smbd=samba smbclient=smbclient mkfs.fat=dosfstools mcopy=mtools mkfs.exfat=exfatprogs mount.exfat-fuse=exfat-fuse
# Other people's clients from npm, installed once per content of the lock; internal/testenv looks for them there.
NODE_DIR := $(shell $(GO) env GOPATH)/xenbackup-tools/npm-$(shell sha256sum internal/testenv/npm/package-lock.json | cut -c1-12)

.PHONY: test lint vet peers unit fuzz-smoke fuzz torture bench

test: peers lint vet unit fuzz-smoke

lint: $(LINT)
	$(LINT) run --allow-parallel-runners -c internal/tools/golangci.yml ./...

# A linter of its own module graph: go install keeps it out of go.mod. About three minutes, once.
$(LINT):
	GOBIN=$(LINT_DIR) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

vet:
	$(GO) mod verify
	$(GO) vet ./...
	GOOS=darwin $(GO) vet ./...
	GOOS=windows $(GO) vet ./...
	@$(GO) fix -diff ./... || { echo "run: go fix ./..."; exit 1; }

# A missing peer makes the tests fail (XENBACKUP_PEERS=require), so it is better said, or mended, here. Servers among them are not
# started: apt asks policy-rc.d, which says no while it installs, unless the machine has one of its own.
peers:
	@missing=""; for p in $(PEERS); do command -v $${p%%=*} >/dev/null || missing="$$missing $${p##*=}"; done; \
	missing=$$(echo $$missing | tr ' ' '\n' | sort -u | tr '\n' ' '); \
	if [ -n "$${missing// /}" ]; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "installing $$missing"; \
			[ -e /usr/sbin/policy-rc.d ] || { trap 'rm -f /usr/sbin/policy-rc.d' EXIT; printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d; }; \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
		else \
			echo "the tests compare with other people's tools; please install: $$missing" >&2; exit 1; \
		fi; \
	fi
	@$(MAKE) --no-print-directory $(NODE_DIR)

$(NODE_DIR):
	@rm -rf $@.tmp && mkdir -p $@.tmp && cp internal/testenv/npm/package*.json $@.tmp
	cd $@.tmp && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@mv $@.tmp $@

unit:
	XENBACKUP_PEERS=require $(GO) test -race -shuffle=on -timeout 15m ./...
	$(GO) test -shuffle=on -timeout 5m ./remote/catalog ./xapi # more of each sweep than the race detector is fast enough for
	XENBACKUP_PEERS=require $(GO) test -count=1 -run '^TestABigTree' ./filerestore/fsys/ext
	$(GO) test -count=1 -run '^TestManyJobs|^TestSixteen' ./pipeline # the memory of a process is not its own under the race detector
	XENBACKUP_ZONES=all $(GO) test -run '^TestEveryTurning' ./schedule # and for each time zone

# package:target of each fuzz test
FUZZ = $(shell grep -rlE --include='*_test.go' '^func Fuzz' . | xargs -r grep -HoE '^func Fuzz[A-Za-z0-9_]+' | sed -E 's|/[^/]*:func |:|' | sort -u)

fuzz-smoke:
	$(MAKE) --no-print-directory fuzz FUZZTIME=$(FUZZSMOKE) READERTIME=$(FUZZSMOKE) FUZZJOBS=2

fuzz:
	@printf '%s\n' $(FUZZ) | xargs -P $(FUZZJOBS) -I{} bash -c 't={}; limit=$(FUZZTIME); case $$t in ./filerestore*) limit=$(READERTIME);; esac; echo "fuzz $$t"; \
		$(GO) test -run "^$$" -fuzz "^$${t##*:}$$" -fuzztime $$limit -fuzzminimizetime 1s $${t%%:*}'

torture:
	XENBACKUP_PEERS=require XENBACKUP_KILLS=$(KILLS) XENBACKUP_STEPS=all XENBACKUP_PAIRS=$(PAIRS) XENBACKUP_CUTS=$(CUTS) XENBACKUP_STOPS=$(STOPS) XENBACKUP_TAKES=$(TAKES) \
		$(GO) test -timeout 0 -count=1 -v ./internal/torture/...
	XENBACKUP_PEERS=require XENBACKUP_CUTS=$(CUTS) $(GO) test -timeout 0 -count=1 -v -run '^TestPowerCut' ./remote/local
	XENBACKUP_PEERS=require XENBACKUP_FAULTS=1 $(GO) test -timeout 0 -count=1 -v -run '^TestExportsCutAnywhere|^TestMasterChanges|^TestSessionsThatEnd' ./pipeline
	XENBACKUP_PEERS=require XENBACKUP_ROUNDS=$(ROUNDS) $(GO) test -timeout 0 -count=1 -v -run '^TestTorture' ./remote/nfs ./remote/smb
	XENBACKUP_PEERS=require XENBACKUP_QUESTIONS=$(QUESTIONS) $(GO) test -timeout 0 -count=1 -v -run 'XenOrchestraSays$$' ./schedule ./selector
	XENBACKUP_PEERS=require XENBACKUP_SWEEP=1 XENBACKUP_SEEDS=$(SEEDS) $(GO) test -timeout 0 -count=1 -v -run '^TestModelOf|^TestCycle|Survive|^TestFileWhoseSync' ./remote/catalog
	XENBACKUP_PEERS=require XENBACKUP_FLIPS=$(FLIPS) XENBACKUP_ROTS=$(ROTS) XENBACKUP_READERS=1000 $(GO) test -timeout 0 -count=1 -v -run '^TestRot|^TestReadersAndRetention' ./remote/catalog
	XENBACKUP_PEERS=require XENBACKUP_ROUNDS=$(DAMAGES) XENBACKUP_BIG=1 $(GO) test -timeout 0 -count=1 -v -run '^TestDamaged|^TestABigTree' ./filerestore/...
	XENBACKUP_JOBS=$(JOBS) $(GO) test -timeout 0 -count=1 -v -run '^TestManyJobs' ./pipeline

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...
	$(GO) run ./internal/bench/vhdbench # VHD beside qemu-img, libvhdi and cp, ratios printed
	$(GO) run ./internal/bench/xvabench # XVA beside xva-img and GNU tar
	$(GO) run ./internal/bench/fullbench # full backups beside copying and MD5 of the same bytes
	$(GO) run ./internal/bench/jobbench # delta jobs to a folder and NFS beside a bare copy with digests, and the memory of many disks
