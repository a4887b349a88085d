package filerestore_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore"
	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

var everything = []filerestore.Selection{{}}

func archive(tb testing.TB, s *filerestore.Session, f filerestore.Format, list []filerestore.Selection, opts *filerestore.ArchiveOptions) (*bytes.Buffer, *filerestore.Report) {
	tb.Helper()
	var b bytes.Buffer
	report, err := s.Archive(tb.Context(), &b, f, list, opts)
	require.NoError(tb, err)
	return &b, report
}

type member struct {
	*tar.Header
	content string
}

// members reads an archive as the standard library does.
func members(tb testing.TB, r io.Reader) (list []member) {
	tb.Helper()
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		require.NoError(tb, err)
		content, err := io.ReadAll(t)
		require.NoError(tb, err)
		list = append(list, member{h, string(content)})
	}
}

func names(list []member) (out []string) {
	for _, m := range list {
		out = append(out, m.Name)
	}
	return out
}

func TestArchivesOfAllFormatsHoldTheSame(t *testing.T) {
	s := open(t, machine(t, "a", "b"), nil)
	list := []filerestore.Selection{{Volume: "root", Path: "etc"}, {Volume: "root", Path: "etc/hostname"}, {Volume: "boot", Path: "large"}}
	plain, report := archive(t, s, filerestore.Tar, list, nil)
	require.True(t, report.Complete(), report)
	want := members(t, bytes.NewReader(plain.Bytes()))
	require.Equal(t, []string{
		"lvm-vg0-root/etc/", "lvm-vg0-root/etc/deep/", "lvm-vg0-root/etc/deep/er/", "lvm-vg0-root/etc/deep/er/numbers", "lvm-vg0-root/etc/hostname",
		"lvm-vg0-root/etc/hard", "lvm-vg0-root/etc/pipe", "lvm-vg0-root/etc/null", "a-p1/large", "lvm-vg0-root/etc/deep/link", "lvm-vg0-root/etc/absolute",
	}, slices.Compact(reorder(names(want))), "directories come again before their links")

	packed, _ := archive(t, s, filerestore.TarGzip, list, nil)
	gz, err := gzip.NewReader(packed)
	require.NoError(t, err)
	got, err := io.ReadAll(gz)
	require.NoError(t, err)
	require.True(t, bytes.Equal(plain.Bytes(), got))
	packed, _ = archive(t, s, filerestore.TarZstd, list, nil)
	z, err := zstd.NewReader(packed)
	require.NoError(t, err)
	defer z.Close()
	got, err = io.ReadAll(z)
	require.NoError(t, err)
	require.True(t, bytes.Equal(plain.Bytes(), got))

	packed, report = archive(t, s, filerestore.Zip, list, nil)
	require.EqualValues(t, 2, report.SkipCount, "a pipe and a device")
	zr, err := zip.NewReader(bytes.NewReader(packed.Bytes()), int64(packed.Len()))
	require.NoError(t, err)
	for _, m := range want {
		if m.Typeflag == tar.TypeFifo || m.Typeflag == tar.TypeChar {
			continue
		}
		i := slices.IndexFunc(zr.File, func(f *zip.File) bool { return f.Name == m.Name })
		require.GreaterOrEqual(t, i, 0, m.Name)
		f := zr.File[i]
		r, err := f.Open()
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		switch m.Typeflag {
		case tar.TypeReg:
			require.Equal(t, m.content, string(content))
			require.Equal(t, m.FileInfo().Mode(), f.Mode())
			require.Equal(t, m.ModTime.Unix(), f.Modified.Unix())
		case tar.TypeSymlink:
			require.Equal(t, m.Linkname, string(content))
			require.Equal(t, fs.ModeSymlink, f.Mode().Type())
		}
	}
}

// reorder puts names of one directory, whose order is the volume's own, into ours.
func reorder(list []string) []string {
	order := []string{"etc/", "deep/", "er/", "numbers", "hostname", "hard", "pipe", "null", "large", "link", "absolute"}
	slices.SortStableFunc(list, func(a, b string) int {
		at := func(s string) int {
			return slices.IndexFunc(order, func(o string) bool { return strings.HasSuffix(s, o) })
		}
		return at(a) - at(b)
	})
	return list
}

func TestTarKeepsWhatAFileHas(t *testing.T) {
	s := open(t, machine(t, "a", "b"), nil)
	b, _ := archive(t, s, filerestore.Tar, []filerestore.Selection{{Volume: "root"}}, nil)
	got := map[string]member{}
	for _, m := range members(t, b) {
		got[m.Name] = m
	}
	host, hard := got["etc/hostname"], got["etc/hard"]
	if host.Typeflag != tar.TypeReg { // whichever came first
		host, hard = hard, host
	}
	require.Equal(t, "root host\n", host.content)
	require.EqualValues(t, tar.TypeLink, hard.Typeflag)
	require.Equal(t, host.Name, hard.Linkname)
	require.Equal(t, "of root", host.PAXRecords["SCHILY.xattr.user.comment"])
	require.EqualValues(t, 123456789, host.ModTime.Nanosecond())
	require.Equal(t, "../hostname", got["etc/deep/link"].Linkname)
	require.Equal(t, "user::rwx,user:1234:r--,group::r-x,group:5678:rwx,mask::rwx,other::r-x", got["etc/deep/er/numbers"].PAXRecords["SCHILY.acl.access"])
	require.NotEmpty(t, got["etc/deep/"].PAXRecords["SCHILY.acl.default"])
	require.EqualValues(t, 0o4000, got["etc/deep/er/numbers"].Mode&0o4000)
	require.Equal(t, 1000, got["etc/deep/"].Uid)
	require.Equal(t, 100000, got["etc/deep/"].Gid)
	require.EqualValues(t, tar.TypeChar, got["etc/null"].Typeflag)
	require.EqualValues(t, 3, got["etc/null"].Devminor)
	require.EqualValues(t, tar.TypeFifo, got["etc/pipe"].Typeflag)
	require.EqualValues(t, 1<<20+4, got["sparse"].Size)
	require.Less(t, b.Cap(), 2<<20)
	for _, name := range []string{"line\nbreak", "back\\slash", "C:con", "bad\xff", "ünïcode", "empty"} {
		require.Contains(t, got, name)
	}
}

func TestLimitsEndAnArchiveAtTheSamePlace(t *testing.T) {
	m := newMade()
	for _, name := range []string{"a", "b", "c"} {
		m.file(1, name, "0123456789")
	}
	at := m.dir(m.dir(1, "d"), "e")
	m.file(at, "f", "")
	s := openMade(t, m)
	for _, limits := range []filerestore.Limits{{Bytes: 25}, {Entries: 2}, {Depth: 1}} {
		var first []string
		for range 2 {
			var b bytes.Buffer
			report, err := s.Archive(t.Context(), &b, filerestore.Tar, everything, &filerestore.ArchiveOptions{Limits: limits})
			require.ErrorIs(t, err, fsys.ErrLimit)
			require.False(t, report.Complete())
			got := names(members(t, &b))
			require.Equal(t, "RESTORE-REPORT.txt", got[len(got)-1])
			require.True(t, first == nil || slices.Equal(first, got))
			first = got
		}
	}
}

func TestWhatCannotBeReadIsReportedAndZeros(t *testing.T) {
	m := newMade()
	m.warnings = []fsys.Warning{{Concern: fsys.Replayed, Text: "fine"}}
	m.add(1, "torn", &madeNode{mode: 0o644, content: torn{size: 3 << 20, from: 2 << 20}})
	m.add(1, "panics", &madeNode{mode: 0o644, content: torn{size: 3 << 20, from: 0, panics: true}})
	m.add(1, "socket", &madeNode{mode: fs.ModeSocket})
	m.add(1, "attributes", &madeNode{mode: 0o600, xattrs: map[string][]byte{"user.a=b": nil, "system.posix_acl_access": {1}}, content: whole{bytes.NewReader(nil)}})
	m.name(1, "lost", 1)
	m.file(1, "RESTORE-REPORT.txt", "theirs")
	m.file(1, "good", "content")
	s := openMade(t, m)
	for _, f := range []filerestore.Format{filerestore.Tar, filerestore.Zip} {
		b, report := archive(t, s, f, everything, nil)
		require.False(t, report.Complete())
		var text string
		if f == filerestore.Zip {
			zr, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
			require.NoError(t, err)
			content, err := fs.ReadFile(zr, "RESTORE-REPORT-again.txt")
			require.NoError(t, err)
			text = string(content)
		} else {
			list := members(t, b)
			require.Equal(t, strings.Repeat("x", 2<<20)+strings.Repeat("\x00", 1<<20), list[0].content)
			require.Contains(t, names(list), "good")
			require.Equal(t, "RESTORE-REPORT-again.txt", list[len(list)-1].Name)
			text = list[len(list)-1].content
			require.EqualValues(t, 5, report.SkipCount)
		}
		require.Contains(t, text, "bad sector")
		require.Contains(t, text, "a reader's mistake")
		require.Contains(t, text, "NOT COMPLETE")
		require.Contains(t, text, "sockets")
		require.Contains(t, text, `"lost"`)
	}
}

func TestAnAuditSeesAndRefusesEachEntry(t *testing.T) {
	s := open(t, machine(t, "a"), nil)
	var seen []string
	opts := &filerestore.ArchiveOptions{Audit: func(a filerestore.Audit) error {
		seen = append(seen, a.Volume+" "+a.Path)
		if a.Path == "etc/hostname" {
			return fs.ErrPermission
		}
		return nil
	}}
	b, report := archive(t, s, filerestore.Tar, []filerestore.Selection{{Volume: "boot", Path: "etc"}}, opts)
	require.ErrorIs(t, report.Skipped[0].Err, fs.ErrPermission)
	require.Contains(t, seen, "a/p1 etc/deep/er/numbers")
	got := names(members(t, b))
	require.NotContains(t, got, "etc/hostname")
	require.Contains(t, got, "etc/hard")
}

func TestArchivesEndWithTheirWriterOrContext(t *testing.T) {
	s := open(t, machine(t, "a"), nil)
	full, boot := errors.New("full"), []filerestore.Selection{{Volume: "boot"}}
	for _, f := range []filerestore.Format{filerestore.Tar, filerestore.TarGzip, filerestore.TarZstd, filerestore.Zip} {
		_, err := s.Archive(t.Context(), brokenWriter{full}, f, boot, nil)
		require.ErrorIs(t, err, full, f)
		ctx, cancel := context.WithCancel(t.Context())
		_, err = s.Archive(ctx, io.Discard, f, boot, &filerestore.ArchiveOptions{Progress: func(filerestore.Progress) { cancel() }})
		require.ErrorIs(t, err, context.Canceled, f)
	}
	_, err := s.Archive(t.Context(), io.Discard, filerestore.Tar, []filerestore.Selection{{Volume: "boot", Path: "not/there"}}, nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = s.Archive(t.Context(), io.Discard, 9, boot, nil)
	require.ErrorIs(t, err, fs.ErrInvalid)
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }
