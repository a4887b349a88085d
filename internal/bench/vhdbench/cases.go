package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
)

// all makes the files and runs the cases. The first contestant of each is the
// one that the others are measured against.
func (b *bench) all(ctx context.Context) error {
	raw, single := b.path("disk.raw"), b.path("disk.vhd")
	if err := b.makeRaw(raw); err != nil {
		return err
	}
	for _, step := range []func(context.Context, string, string) error{b.toVHD, b.toRaw, b.chain, b.merge, b.open} {
		if err := step(ctx, raw, single); err != nil {
			return err
		}
	}
	return nil
}

func qemuConvert(name, output string, args ...string) contestant {
	return contestant{name: name, command: append(append([]string{"qemu-img", "convert"}, args...), output), output: output}
}

func (b *bench) toVHD(ctx context.Context, raw, single string) error {
	theirs, copied := b.path("qemu.vhd"), b.path("copy.raw")
	create := []string{"-f", "raw", "-O", "vpc", "-o", "force_size=on", raw}
	err := b.compare(ctx, "raw to dynamic VHD",
		qemuConvert("qemu-img convert -W", theirs, append([]string{"-W"}, create...)...),
		ours(single, "vhd", raw, single),
		qemuConvert("qemu-img convert", theirs, create...),
		contestant{name: "cp --sparse=always, raw to raw", command: []string{"cp", "--sparse=always", raw, copied}, output: copied},
	)
	if err != nil {
		return err
	}
	for _, name := range []string{theirs, copied} {
		if err := os.RemoveAll(name); err != nil {
			return err
		}
	}
	if _, err := os.Stat(single); err != nil { // its case was not wanted
		if _, err := b.measure(ctx, ours(single, "vhd", raw, single)); err != nil {
			return err
		}
	}
	return sameDisk(ctx, single, raw)
}

func (b *bench) toRaw(ctx context.Context, raw, single string) error {
	out := b.path("out.raw")
	defer os.Remove(out)
	part := min(b.size, 64<<20)
	err := b.compare(ctx, "dynamic VHD to raw",
		qemuConvert("qemu-img convert", out, "-f", "vpc", "-O", "raw", single),
		qemuConvert("qemu-img convert -W", out, "-W", "-f", "vpc", "-O", "raw", single),
		contestant{name: "libvhdi, the first 64 MiB", command: libvhdi(single, part), bytes: part},
		ours(out, "raw", single, out),
	)
	if err != nil || !b.wanted.MatchString("dynamic VHD to raw") {
		return err
	}
	return sameDisk(ctx, out, raw)
}

// libvhdi reads the first n bytes through a mount.
func libvhdi(image string, n int64) []string {
	script := `command -v vhdimount >/dev/null || exit 0
dir=$(mktemp -d) && vhdimount "$1" "$dir" >/dev/null && { head -c "$2" "$dir"/vhdi1 >/dev/null; fusermount3 -u "$dir" || fusermount -u "$dir"; } && rmdir "$dir"`
	return []string{"bash", "-c", script, "bash", image, strconv.FormatInt(n, 10)}
}

func (b *bench) chain(ctx context.Context, raw, single string) error {
	if !b.wanted.MatchString("chain of 99") {
		return nil
	}
	const links = 99
	leaf, err := b.makeChain(raw, links)
	if err != nil {
		return err
	}
	out := b.path("out.raw")
	err = b.compare(ctx, "chain of 99 to raw",
		named("xenbackup, a single image", ours(out, "raw", single, out)),
		named("xenbackup, 99 images", ours(out, "raw", leaf, out)),
		contestant{name: "cp --sparse=always, raw to raw", command: []string{"cp", "--sparse=always", raw, out}, output: out},
	)
	if err != nil {
		return err
	}
	if _, err := b.measure(ctx, ours(out, "raw", leaf, out)); err != nil {
		return err
	}
	if err := sameDisk(ctx, out, raw); err != nil {
		return err
	}
	err = b.compare(ctx, "random reads of 4 KiB through a chain of 99",
		named("xenbackup, a single image", ours("", "random", single)),
		named("xenbackup, 99 images", ours("", "random", leaf)),
	)
	for k := range links {
		if err := os.Remove(b.path(fmt.Sprintf("chain-%02d.vhd", k))); err != nil {
			return err
		}
	}
	return err
}

func named(name string, c contestant) contestant {
	c.name = name
	return c
}

func (b *bench) merge(ctx context.Context, raw, _ string) error {
	changed := min(256<<20, b.size/4)
	copied := b.path("copied")
	err := b.compare(ctx, "merge of 256 MiB of changed blocks",
		contestant{
			name: "dd, over as many bytes", bytes: changed,
			command: []string{"dd", "if=" + b.path("new.vhd"), "of=" + b.path("old.vhd"), "bs=2M", "conv=notrunc", "status=none"},
			before:  func() error { return b.makeMerge(changed) },
		},
		contestant{
			name: "xenbackup", command: []string{childArg, "merge", b.dir, "old.vhd", "new.vhd"}, bytes: changed,
			before: func() error { return b.makeMerge(changed) },
		},
		contestant{name: "dd, to a new file", command: []string{"dd", "if=" + raw, "of=" + copied, "bs=2M", "count=" + strconv.FormatInt(changed>>21, 10), "status=none"}, output: copied, bytes: changed},
	)
	for _, name := range []string{copied, b.path("new.vhd"), b.path("old.vhd")} {
		if err := os.RemoveAll(name); err != nil {
			return err
		}
	}
	return err
}

func (b *bench) open(ctx context.Context, _, _ string) error {
	huge := b.path("huge.vhd")
	if err := makeHuge(huge); err != nil {
		return err
	}
	defer os.Remove(huge)
	return b.compare(ctx, "open and describe a sparse VHD of 2 TiB",
		contestant{name: "qemu-img info", command: []string{"qemu-img", "info", "-f", "vpc", huge}},
		ours("", "open", huge),
		contestant{name: "vhdiinfo", command: []string{"vhdiinfo", huge}},
	)
}
