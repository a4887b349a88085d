package xva_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/xenbackup/xenbackup/xva"
)

func BenchmarkRead(b *testing.B) {
	disks := map[string]memory{"Ref:1a": noise(64<<20, 1)}
	for _, sum := range []xva.Checksum{xva.SHA1, xva.XXHash} {
		b.Run(sum.String(), func(b *testing.B) {
			raw := write(b, disks, &xva.WriterOptions{Checksum: sum})
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				r, err := xva.NewReader(bytes.NewReader(raw), nil)
				for err == nil {
					_, err = r.Next()
				}
				if !errors.Is(err, io.EOF) {
					b.Fatal(err)
				}
				_ = r.Close()
			}
		})
	}
}

func BenchmarkWrite(b *testing.B) {
	disks := map[string]memory{"Ref:1a": noise(64<<20, 1)}
	ova := machine(disks)
	for _, sum := range []xva.Checksum{xva.SHA1, xva.XXHash} {
		b.Run(sum.String(), func(b *testing.B) {
			b.SetBytes(64 << 20)
			b.ReportAllocs()
			for b.Loop() {
				if err := xva.Write(b.Context(), io.Discard, ova, sources(disks), &xva.WriterOptions{Checksum: sum}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCompress(b *testing.B) {
	plain := mixed(64 << 20)
	for _, kind := range []xva.Compression{xva.Gzip, xva.Zstd} {
		b.Run(kind.String(), func(b *testing.B) {
			b.SetBytes(64 << 20)
			b.ReportAllocs()
			for b.Loop() {
				w, err := xva.NewCompressor(io.Discard, kind)
				if err == nil {
					_, err = w.Write(plain)
				}
				if err = errors.Join(err, w.Close()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
