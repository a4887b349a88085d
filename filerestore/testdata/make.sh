#!/usr/bin/env bash
# Makes the images that the tests of this package and of those below it keep: by root, with
# loop devices, by the tools of Debian 12: fdisk gdisk parted lvm2 e2fsprogs dosfstools mtools exfatprogs
# cryptsetup-bin xfsprogs btrfs-progs ntfs-3g f2fs-tools zstd. Without a device mapper in the
# kernel, the contents of logical volumes are put where lvs says that their extents are.
set -euo pipefail
cd "$(dirname "$0")"
out=$PWD
work=$(mktemp -d)
loops=()
trap 'for l in "${loops[@]}"; do losetup -d "$l"; done; rm -rf "$work"' EXIT
cd "$work"
loop() { l=$(losetup -f --show "$@"); loops+=("$l"); }
keep() { zstd -q -19 -f "$1" -o "$2/$1.zst"; }

# --- tables ---------------------------------------------------------------------------
table=$out/../partition/testdata
mkdir -p "$table"
truncate -s 8M gpt.img
sgdisk -a 1 -U 11111111-2222-3333-4444-555555555555 \
	-n 1:2048:+1M -t 1:ef00 -c 1:"EFI System" -n 2:0:+2M -t 2:8300 -c 2:"données" -n 7:0:+1M -t 7:8e00 -n 128:0:0 -t 128:8200 gpt.img >/dev/null
keep gpt.img "$table"
sgdisk -p gpt.img >"$table/gpt.txt"; for n in 1 2 7 128; do sgdisk -i $n gpt.img >>"$table/gpt.txt"; done
cp gpt.img gpt-backup.img; dd if=/dev/zero of=gpt-backup.img bs=512 seek=1 count=1 conv=notrunc status=none; keep gpt-backup.img "$table"
cp gpt.img gpt-grown.img; truncate -s 10M gpt-grown.img; keep gpt-grown.img "$table"
cp gpt-grown.img gpt-grown-backup.img; dd if=/dev/urandom of=gpt-grown-backup.img bs=512 seek=2 count=1 conv=notrunc status=none; keep gpt-grown-backup.img "$table"
truncate -s 8M gpt-4k.img; loop -b 4096 gpt-4k.img
sgdisk -a 1 -n 1:256:+1M -c 1:first -n 2:0:0 -c 2:second "$l" >/dev/null; sync; losetup -d "$l"; unset 'loops[-1]'; keep gpt-4k.img "$table"
truncate -s 8M mbr.img
sfdisk -q mbr.img <<-END
	label: dos
	label-id: 0xdeadbeef
	start=2048, size=2048, type=83, bootable
	start=4096, type=f
	start=5120, size=1024, type=83
	start=7168, size=1024, type=82
	start=10240, size=2048, type=8e
END
keep mbr.img "$table"; sfdisk -d mbr.img | grep start >"$table/mbr.txt"
truncate -s 8M parted.img
parted -s parted.img mklabel msdos mkpart primary ext4 1MiB 2MiB mkpart extended 2MiB 100% mkpart logical 3MiB 4MiB mkpart logical 5MiB 6MiB
keep parted.img "$table"

# --- contents -------------------------------------------------------------------------
heads=$out/../probe/testdata
mkdir -p "$heads"
head() { dd if="$1" of="$1.head" bs=64K count=3 status=none; mv "$1.head" "$1"; keep "$1" "$heads"; }
for v in 1 2; do
	truncate -s 32M luks$v.img
	echo -n secret | cryptsetup luksFormat -q --type luks$v --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --uuid 0000000$v-1111-2222-3333-444444444444 luks$v.img -
	truncate -s 4K luks$v.img; keep luks$v.img "$heads"
done
truncate -s 8M swap.img; mkswap -q -L swapped -U 00000003-1111-2222-3333-444444444444 swap.img 2>/dev/null; head swap.img
truncate -s 320M xfs.img; mkfs.xfs -q -L label -m uuid=00000004-1111-2222-3333-444444444444 xfs.img; head xfs.img
truncate -s 128M btrfs.img; mkfs.btrfs -q -L label -U 00000005-1111-2222-3333-444444444444 btrfs.img; head btrfs.img
truncate -s 64M f2fs.img; mkfs.f2fs -q -l label -U 00000006-1111-2222-3333-444444444444 f2fs.img >/dev/null; head f2fs.img
truncate -s 16M ntfs.img; mkfs.ntfs -q -F -f -L label ntfs.img >/dev/null 2>&1; head ntfs.img
truncate -s 64M fat32.img; mkfs.vfat -F 32 -n LABEL -i 12345678 fat32.img >/dev/null; head fat32.img
truncate -s 4M fat12.img; mkfs.vfat -F 12 -i 12345678 fat12.img >/dev/null; head fat12.img
for v in 2 3 4; do truncate -s 8M ext$v.img; mkfs.ext$v -q -L label -U 00000007-1111-2222-3333-444444444444 ext$v.img; head ext$v.img; done

# --- disks that are one volume --------------------------------------------------------
truncate -s 2M fat.img; mkfs.vfat -F 12 -n FATLABEL -i 12345678 fat.img >/dev/null
echo "on fat" >hello.txt; mcopy -i fat.img hello.txt ::/hello.txt; keep fat.img "$out"
truncate -s 4M exfat.img; mkfs.exfat -L exlabel exfat.img >/dev/null; keep exfat.img "$out"

# --- a machine: GPT + LVM + ext4 ------------------------------------------------------
truncate -s 48M a.img; truncate -s 24M b.img; truncate -s 16M c.img
sgdisk -n 1:2048:+8M -c 1:boot -n 2:0:0 -t 2:8e00 -c 2:lvm a.img >/dev/null
start=$(sgdisk -i 2 a.img | awk '/First sector/{print $3}'); size=$(sgdisk -i 2 a.img | awk '/Partition size/{print $3}')
loop -o $((start * 512)) --sizelimit $((size * 512)) a.img; A=$l
loop b.img; B=$l
loop c.img; C=$l
devices=$A,$B
lv() { cmd=$1; shift; "$cmd" --devices "$devices" --driverloaded n "$@" 10>&- 251>&- 2> >(grep -v -e WARNING -e leaked >&2); }
lv pvcreate -q -q -y "$A" "$B"
lv vgcreate -q -q -s 1m vg0 "$A" "$B"
lv lvcreate -q -q -an -Wn -Zn -y -l 6 -n root vg0 "$A"
lv lvcreate -q -q -an -Wn -Zn -y -l 2 -n home vg0 "$A"
lv lvcreate -q -q -an -Wn -Zn -y -l 8 -i2 -I64 -n data vg0
lv lvextend -q -q -l +6 vg0/root "$B"
lv lvextend -q -q -l +3 vg0/root "$A"
place() { # place vg/lv image: copies its extents to where lvs says that they are
	lv lvs --noheadings --nosuffix --units b -o seg_start,seg_size,stripes,stripesize,seg_pe_ranges "$1" | while read -r at len n stripe ranges; do
		i=0
		for range in $ranges; do
			dev=${range%%:*} first=${range##*:}; first=${first%%-*}
			pe=$(lv pvs --noheadings --nosuffix --units b -o pe_start "$dev" | tr -d ' ')
			if [ "$n" = 1 ]; then stripe=$len; fi
			for ((off = i * stripe, to = 0; off < len; off += n * stripe, to += stripe)); do
				dd if="$2" of="$dev" bs=64K iflag=skip_bytes,count_bytes oflag=seek_bytes conv=notrunc status=none \
					skip=$((at + off)) count="$stripe" seek=$((pe + first * 1048576 + to))
			done
			i=$((i + 1))
		done
	done
}
mkdir root home data boot other
tree() { # files whose content tells where they belong
	mkdir -p "$1/etc/deep/er"; echo "$1 host" >"$1/etc/hostname"; seq 1 2000 >"$1/etc/deep/er/numbers"
	ln -s ../hostname "$1/etc/deep/link"; ln -s /etc/../../outside "$1/etc/absolute"; ln "$1/etc/hostname" "$1/etc/hard"
	mkfifo "$1/etc/pipe"; mknod "$1/etc/null" c 1 3; chmod 4755 "$1/etc/deep/er/numbers"; chown 1000:100000 "$1/etc/deep"
	truncate -s 1M "$1/sparse"; echo middle | dd of="$1/sparse" bs=1 seek=500000 conv=notrunc status=none; echo end >>"$1/sparse"
	touch -h -d '2001-02-03 04:05:06.123456789 UTC' "$1/etc/deep/link" "$1/etc/hostname"; : >"$1/empty"
	touch "$1/$(printf 'line\nbreak')" "$1/back\\slash" "$1/C:con" "$1/$(printf 'bad\xff')" "$1/ünïcode"
	seq -f "$1 %.0f" 1 30000 >"$1/large"
}
for fs in boot:8 root:15 home:2 data:8 other:8; do
	name=${fs%:*}; tree "$name"
	truncate -s "${fs#*:}M" "$name.ext4"
	mkfs.ext4 -q -E lazy_itable_init=0 -L "$name" -O ^has_journal "$name.ext4"
	mkdir mnt; mount -o loop "$name.ext4" mnt
	cp -a "$name/." mnt/
	setfattr -n user.comment -v "of $name" mnt/etc/hostname
	setfacl -m u:1234:r--,g:5678:rwx mnt/etc/deep/er/numbers
	setfacl -d -m u:1234:r-x mnt/etc/deep
	(cd mnt && find . -mindepth 1 ! -name lost+found -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum -z | tr '\0\n' '\n?') >"$out/$name.sha256"
	umount mnt; rmdir mnt
done
place vg0/root root.ext4; place vg0/home home.ext4; place vg0/data data.ext4
devices=$C # a group of the same name, from another machine
lv pvcreate -q -q -y "$C"
lv vgcreate -q -q -s 1m vg0 "$C"
lv lvcreate -q -q -an -Wn -Zn -y -l 8 -n root vg0
place vg0/root other.ext4
dd if=boot.ext4 of=a.img bs=1M seek=1 conv=notrunc status=none
sync
for image in a b c; do keep $image.img "$out"; done
