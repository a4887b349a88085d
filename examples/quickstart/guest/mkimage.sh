#!/bin/sh
# Makes the system disk of the guest in the quickstart: a real ext4 filesystem of 48 MiB.
#   disk.img.gz    the disk, compressed
#   files.json     where on the disk the files lie that the guest rewrites
# Needs e2fsprogs and gzip; run it in this folder.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/tree/etc" "$work/tree/srv"
echo quickstart >"$work/tree/etc/hostname"
seq -f 'account %06.0f balance 0000000000 generation 000' 1 40000 >"$work/tree/srv/ledger.txt"
seq -f 'event %07.0f: nothing happened yet' 1 60000 >"$work/tree/srv/events.log"
find "$work/tree" -exec touch -h -d 2026-01-01T00:00:00Z {} +
export E2FSPROGS_FAKE_TIME=1767225600
truncate -s 48M "$work/disk.img"
mkfs.ext4 -q -b 4096 -L quickstart -U 0c0ffee0-0000-4000-8000-000000000001 \
	-E hash_seed=0c0ffee0-0000-4000-8000-000000000002,lazy_itable_init=0,root_owner=0:0 -d "$work/tree" "$work/disk.img"
fsck.ext4 -fn "$work/disk.img" >/dev/null
gzip -9n <"$work/disk.img" >disk.img.gz

extents() { # path on the disk -> JSON list of [offset, length], in bytes
	debugfs -R "blocks $1" "$work/disk.img" 2>/dev/null | tr ' ' '\n' | awk 'NF {
		if (n && $1 == start + n) { n++; next }
		if (n) printf "%s[%d,%d]", sep, start*4096, n*4096
		if (n) sep = ","
		start = $1; n = 1
	} END { if (n) printf "%s[%d,%d]", sep, start*4096, n*4096 }'
}
entry() { printf '  {"path":"%s","size":%d,"extents":[%s]}' "$1" "$(stat -c %s "$work/tree$1")" "$(extents "$1")"; }
{
	echo '['
	entry /srv/ledger.txt
	echo ','
	entry /srv/events.log
	printf '\n]\n'
} >files.json
