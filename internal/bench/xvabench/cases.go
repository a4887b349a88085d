package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"

	"github.com/xenbackup/xenbackup/internal/bench"
)

// all makes the files and runs the cases. The first contestant of each is the one that the others are measured against.
func (b *xvaBench) all(ctx context.Context) error {
	if err := b.makeRaw(); err != nil {
		return err
	}
	for _, sum := range []string{"sha1", "xxhash"} {
		if err := b.Run(ctx, bench.Ours("", "write", b.Path("disk.raw"), b.Path(sum+".xva"), sum, "none")); err != nil {
			return err
		}
	}
	for _, step := range []func(context.Context) error{b.read, b.open, b.write, b.compress} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// makeRaw makes the disk as a sparse raw file; a quarter of the data is random.
func (b *xvaBench) makeRaw() (err error) {
	f, err := os.Create(b.Path("disk.raw"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(b.Size); err != nil {
		return err
	}
	const block = 2 << 20
	buf := make([]byte, block)
	for i := range b.Size / block {
		if i*11%20 >= 11 && i > 0 && i < b.Size/block-1 {
			continue
		}
		if i%4 == 0 {
			_, _ = rand.NewChaCha8([32]byte{byte(i), byte(i >> 8)}).Read(buf)
		} else {
			line := fmt.Appendf(nil, "block %d: the quick brown fox jumps over the lazy dog\n", i)
			for at := 0; at < len(buf); at += copy(buf[at:], line) {
				line = fmt.Appendf(line[:0], "block %d at %d: the quick brown fox jumps over the lazy dog\n", i, at)
			}
		}
		if _, err := f.WriteAt(buf, i*block); err != nil {
			return err
		}
		b.Bytes += block
	}
	return nil
}

func shell(name, output, script string, args ...string) bench.Contestant {
	return bench.Contestant{Name: name, Command: append([]string{"bash", "-e", "-c", script, "bash"}, args...), Output: output}
}

const diskID = "Ref:3"

func (b *xvaBench) read(ctx context.Context) error {
	raw, dir := b.Path("out.raw"), b.Path("unpacked")
	sha1, xxhash := b.Path("sha1.xva"), b.Path("xxhash.xva")
	named := func(name, op, from string) bench.Contestant {
		c := bench.Ours(raw, op, from, raw)
		c.Name = name
		return c
	}
	all := []bench.Contestant{
		shell("xva-img disk-export, unpacked", raw, `xva-img -s disk-export "$1" "$2"`, b.Path("ready/"+diskID+"/"), raw),
		named("xenbackup, archive as a stream", "read", sha1),
		named("xenbackup, archive as a file", "convert", sha1),
		named("xenbackup, stream with xxhash", "read", xxhash),
		shell("GNU tar -x", dir, `mkdir "$2"; tar --force-local -xf "$1" -C "$2"`, sha1, dir),
		shell("GNU tar -x, xva-img disk-export", dir, `mkdir "$2"; tar --force-local -xf "$1" -C "$2"; xva-img -s disk-export "$2/`+diskID+`/" "$2/out.raw"`, sha1, dir),
	}
	if _, err := exec.LookPath("xva-img"); err != nil {
		all = all[1:5]
	}
	if err := b.unpack(ctx, sha1); err != nil {
		return err
	}
	if err := b.Compare(ctx, "read: archive to raw", all...); err != nil {
		return err
	}
	for _, c := range all {
		if c.Output == raw && b.Wanted.MatchString("read: archive to raw") {
			if err := b.Run(ctx, c); err != nil {
				return err
			}
			if err := b.sameAsDisk(raw); err != nil {
				return fmt.Errorf("%s: %w", c.Name, err)
			}
		}
	}
	return errors.Join(os.RemoveAll(raw), os.RemoveAll(dir), os.RemoveAll(b.Path("ready")))
}

func (b *xvaBench) unpack(ctx context.Context, archive string) error {
	dir := b.Path("ready")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return b.Run(ctx, shell("", "", `tar --force-local -xf "$1" -C "$2"`, archive, dir))
}

func (b *xvaBench) open(ctx context.Context) error {
	return b.Compare(ctx, "open: index of an archive",
		shell("GNU tar -t", "", `tar --force-local -tf "$1" >/dev/null`, b.Path("sha1.xva")),
		bench.Ours("", "open", b.Path("sha1.xva")),
	)
}

func (b *xvaBench) write(ctx context.Context) error {
	raw, out, dir := b.Path("disk.raw"), b.Path("out.xva"), b.Path("packed")
	chunks := dir + "/" + diskID
	all := []bench.Contestant{
		shell("xva-img disk-import, no archive", dir, `mkdir -p "$1"; xva-img disk-import "$1/" "$2"`, chunks, raw),
		bench.Ours(out, "write", raw, out, "sha1", "none"),
		bench.Ours(out, "write", raw, out, "xxhash", "none"),
		shell("xva-img disk-import, package", dir, `mkdir -p "$1"; xva-img disk-import "$1/" "$2"; cd "$3"; echo x >ova.xml; xva-img package out.xva ./ova.xml ./`+diskID, chunks, raw, dir),
		shell("GNU tar -c of the chunks", out, `tar --force-local -cf "$1" -C "$2" .`, out, dir+"-ready"),
	}
	all[2].Name = "xenbackup, xxhash"
	if err := b.Run(ctx, shell("", "", `mkdir "$2"; tar --force-local -xf "$1" -C "$2"`, b.Path("sha1.xva"), dir+"-ready")); err != nil {
		return err
	}
	if _, err := exec.LookPath("xva-img"); err != nil {
		all = []bench.Contestant{all[4], all[1], all[2]}
	}
	err := b.Compare(ctx, "write: raw to archive", all...)
	return errors.Join(err, os.RemoveAll(out), os.RemoveAll(dir), os.RemoveAll(dir+"-ready"))
}

func (b *xvaBench) compress(ctx context.Context) error {
	raw, out := b.Path("disk.raw"), b.Path("out.xva")
	for _, kind := range []struct{ name, program string }{{"gzip", "gzip -1"}, {"zstd", "zstd -1 -T0"}} {
		err := b.Compare(ctx, "compress: raw to archive, "+kind.name,
			shell(kind.program+" of the plain archive", out, kind.program+` -q -c <"$1" >"$2"`, b.Path("sha1.xva"), out),
			bench.Ours(out, "write", raw, out, "sha1", kind.name),
		)
		if err != nil {
			return err
		}
		packed := b.Path(kind.name + ".xva")
		if err := b.Run(ctx, bench.Ours("", "write", raw, packed, "sha1", kind.name)); err != nil {
			return err
		}
		raw := b.Path("out.raw")
		err = b.Compare(ctx, "read: archive to raw, "+kind.name,
			shell(kind.program[:4]+" -d alone", out, kind.program[:4]+` -d -q -c <"$1" >"$2"`, packed, out),
			bench.Ours(raw, "read", packed, raw),
		)
		if err != nil {
			return err
		}
		if err := errors.Join(os.RemoveAll(out), os.RemoveAll(raw), os.Remove(packed)); err != nil {
			return err
		}
	}
	return nil
}

// sameAsDisk fails if a file does not hold the bytes of the disk.
func (b *xvaBench) sameAsDisk(name string) error {
	got, err := os.Open(name)
	if err != nil {
		return err
	}
	defer got.Close()
	want, err := os.Open(b.Path("disk.raw"))
	if err != nil {
		return err
	}
	defer want.Close()
	x, y := make([]byte, 1<<20), make([]byte, 1<<20)
	for off := int64(0); off < b.Size; off += 1 << 20 {
		n, err := got.ReadAt(x, off)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if _, err := want.ReadAt(y, off); err != nil {
			return err
		}
		clear(x[n:])
		if !bytes.Equal(x, y) {
			return fmt.Errorf("%s differs at offset %d", name, off)
		}
	}
	return nil
}
