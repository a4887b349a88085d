package main

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/xenbackup/xenbackup/internal/bench"
)

// all makes the files and runs the cases. The first contestant of each is the
// one that the others are measured against.
func (b *vhdBench) all(ctx context.Context) error {
	raw, single := b.Path("disk.raw"), b.Path("disk.vhd")
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

func qemuConvert(name, output string, args ...string) bench.Contestant {
	return bench.Contestant{Name: name, Command: append(append([]string{"qemu-img", "convert"}, args...), output), Output: output}
}

func (b *vhdBench) toVHD(ctx context.Context, raw, single string) error {
	theirs, copied := b.Path("qemu.vhd"), b.Path("copy.raw")
	create := []string{"-f", "raw", "-O", "vpc", "-o", "force_size=on", raw}
	err := b.Compare(ctx, "raw to dynamic VHD",
		qemuConvert("qemu-img convert -W", theirs, append([]string{"-W"}, create...)...),
		bench.Ours(single, "vhd", raw, single),
		qemuConvert("qemu-img convert", theirs, create...),
		bench.Contestant{Name: "cp --sparse=always, raw to raw", Command: []string{"cp", "--sparse=always", raw, copied}, Output: copied},
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
		if err := b.Run(ctx, bench.Ours(single, "vhd", raw, single)); err != nil {
			return err
		}
	}
	return sameDisk(ctx, single, raw)
}

func (b *vhdBench) toRaw(ctx context.Context, raw, single string) error {
	out := b.Path("out.raw")
	defer os.Remove(out)
	part := min(b.Size, 64<<20)
	err := b.Compare(ctx, "dynamic VHD to raw",
		qemuConvert("qemu-img convert", out, "-f", "vpc", "-O", "raw", single),
		qemuConvert("qemu-img convert -W", out, "-W", "-f", "vpc", "-O", "raw", single),
		bench.Contestant{Name: "libvhdi, the first 64 MiB", Command: libvhdi(single, part), Bytes: part},
		bench.Ours(out, "raw", single, out),
	)
	if err != nil || !b.Wanted.MatchString("dynamic VHD to raw") {
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

func (b *vhdBench) chain(ctx context.Context, raw, single string) error {
	if !b.Wanted.MatchString("chain of 99") {
		return nil
	}
	const links = 99
	leaf, err := b.makeChain(raw, links)
	if err != nil {
		return err
	}
	out := b.Path("out.raw")
	err = b.Compare(ctx, "chain of 99 to raw",
		named("xenbackup, a single image", bench.Ours(out, "raw", single, out)),
		named("xenbackup, 99 images", bench.Ours(out, "raw", leaf, out)),
		bench.Contestant{Name: "cp --sparse=always, raw to raw", Command: []string{"cp", "--sparse=always", raw, out}, Output: out},
	)
	if err != nil {
		return err
	}
	if err := b.Run(ctx, bench.Ours(out, "raw", leaf, out)); err != nil {
		return err
	}
	if err := sameDisk(ctx, out, raw); err != nil {
		return err
	}
	err = b.Compare(ctx, "random reads of 4 KiB through a chain of 99",
		named("xenbackup, a single image", bench.Ours("", "random", single)),
		named("xenbackup, 99 images", bench.Ours("", "random", leaf)),
	)
	for k := range links {
		if err := os.Remove(b.Path(fmt.Sprintf("chain-%02d.vhd", k))); err != nil {
			return err
		}
	}
	return err
}

func named(name string, c bench.Contestant) bench.Contestant {
	c.Name = name
	return c
}

func (b *vhdBench) merge(ctx context.Context, raw, _ string) error {
	changed := min(256<<20, b.Size/4)
	copied := b.Path("copied")
	err := b.Compare(ctx, "merge of 256 MiB of changed blocks",
		bench.Contestant{
			Name: "copy over as many bytes", Bytes: changed,
			Command: []string{bench.ChildArg, "over", b.Path("new.vhd"), b.Path("old.vhd")},
			Before:  func() error { return b.makeMerge(changed) },
		},
		bench.Contestant{
			Name: "dd, over as many bytes", Bytes: changed,
			Command: []string{"dd", "if=" + b.Path("new.vhd"), "of=" + b.Path("old.vhd"), "bs=2M", "conv=notrunc", "status=none"},
			Before:  func() error { return b.makeMerge(changed) },
		},
		bench.Contestant{
			Name: "xenbackup", Command: []string{bench.ChildArg, "merge", b.Dir, "old.vhd", "new.vhd"}, Bytes: changed,
			Before: func() error { return b.makeMerge(changed) },
		},
		bench.Contestant{
			Name: "dd over them, then rm of the source", Bytes: changed,
			Command: []string{"sh", "-c", `dd if="$0" of="$1" bs=2M conv=notrunc status=none && rm "$0"`, b.Path("new.vhd"), b.Path("old.vhd")},
			Before:  func() error { return b.makeMerge(changed) },
		},
		bench.Contestant{Name: "dd, to a new file", Command: []string{"dd", "if=" + raw, "of=" + copied, "bs=2M", "count=" + strconv.FormatInt(changed>>21, 10), "status=none"}, Output: copied, Bytes: changed},
	)
	for _, name := range []string{copied, b.Path("new.vhd"), b.Path("old.vhd")} {
		if err := os.RemoveAll(name); err != nil {
			return err
		}
	}
	return err
}

func (b *vhdBench) open(ctx context.Context, _, _ string) error {
	huge := b.Path("huge.vhd")
	if err := makeHuge(huge); err != nil {
		return err
	}
	defer os.Remove(huge)
	return b.Compare(ctx, "open and describe a sparse VHD of 2 TiB",
		bench.Contestant{Name: "qemu-img info", Command: []string{"qemu-img", "info", "-f", "vpc", huge}},
		bench.Ours("", "open", huge),
		bench.Contestant{Name: "vhdiinfo", Command: []string{"vhdiinfo", huge}},
	)
}
