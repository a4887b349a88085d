package filerestore

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// tarSink writes a tar archive.
type tarSink struct {
	w   io.Writer
	top map[string]bool // names that the report must not have
	buf []byte
}

func newTarSink(w io.Writer) *tarSink { return &tarSink{w: w, top: map[string]bool{}} }

func (t *tarSink) name(raw string) string { return bytesName(raw) }
func (t *tarSink) keepsHoles() bool       { return true }

// header makes one of what all entries have. Attributes that tar cannot have are told of
// in the error.
func (t *tarSink) header(e *entry, kind byte) (*tarHeader, error) {
	h := &tarHeader{
		name: e.name, kind: kind, mode: unixMode(e.info.Mode), uid: e.info.UID, gid: e.info.GID,
		modified: e.info.Modified, major: e.info.Major, minor: e.info.Minor,
	}
	if !e.info.Accessed.IsZero() {
		h.set("atime", paxTime(e.info.Accessed))
	}
	if attributes := dosAttributes(e.info.Attributes); attributes != "" {
		h.set("MSWINDOWS.fileattr", attributes)
	}
	var failed error
	for _, name := range slices.Sorted(maps.Keys(e.xattrs)) {
		value := string(e.xattrs[name])
		key := "SCHILY.xattr." + name
		if acl, ok := strings.CutPrefix(name, "system.posix_acl_"); ok {
			text, err := aclText(e.xattrs[name])
			if err != nil {
				failed = &skipError{err: err, kept: true}
				continue
			}
			key, value = "SCHILY.acl."+acl, text
		}
		if strings.ContainsAny(name, "=\x00\n") {
			failed = &skipError{err: fmt.Errorf("%q: %w", name, errAttribute), kept: true}
			continue
		}
		h.set(key, value)
	}
	reportName(t.top, e.name)
	return h, failed
}

// write begins an entry.
func (t *tarSink) write(h *tarHeader) error {
	t.buf = h.appendTo(t.buf[:0])
	_, err := t.w.Write(t.buf)
	return err
}

// only writes an entry without content.
func (t *tarSink) only(e *entry, kind byte, suffix, link string) error {
	h, skipped := t.header(e, kind)
	h.name, h.link = h.name+suffix, link
	if err := t.write(h); err != nil {
		return err
	}
	return skipped
}

func (t *tarSink) directory(e *entry) error { return t.only(e, '5', "/", "") }

// again repeats the entry: GNU tar puts times and modes right when it leaves a directory.
func (t *tarSink) again(e *entry) error {
	err := t.directory(e)
	if _, isSkip := asSkip(err); isSkip {
		return nil // it was told the first time
	}
	return err
}

func (t *tarSink) link(e *entry) error    { return t.only(e, '1', "", e.target) }
func (t *tarSink) symlink(e *entry) error { return t.only(e, '2', "", e.target) }

func (t *tarSink) special(e *entry) error {
	switch e.info.Mode & fs.ModeType {
	case fs.ModeDevice | fs.ModeCharDevice:
		return t.only(e, '3', "", "")
	case fs.ModeDevice:
		return t.only(e, '4', "", "")
	case fs.ModeNamedPipe:
		return t.only(e, '6', "", "")
	}
	return skip(errSpecial)
}

func (t *tarSink) file(e *entry, content *fsys.File, data []span, copier *copier) error {
	h, skipped := t.header(e, '0')
	var sparse []byte
	h.size = total(data)
	if h.size < content.Size() {
		sparse = sparseMap(data, content.Size())
		h.size += int64(len(sparse))
		h.set("GNU.sparse.major", "1")
		h.set("GNU.sparse.minor", "0")
		h.set("GNU.sparse.name", h.name)
		h.set("GNU.sparse.realsize", strconv.FormatInt(content.Size(), 10))
		h.name = "GNUSparseFile.0/" + lastElement(h.name)
	}
	if err := t.write(h); err != nil {
		return err
	}
	if _, err := t.w.Write(sparse); err != nil {
		return err
	}
	err := copier.copy(content, data, func(p []byte, _ int64) error {
		_, err := t.w.Write(p)
		return err
	})
	if _, isSkip := asSkip(err); err != nil && !isSkip {
		return err
	}
	if _, err := t.w.Write(make([]byte, padding(h.size))); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	return skipped
}

// sparseMap is the map of GNU's sparse format 1.0: the number of runs, then place and
// length of each, a number on each line, in whole blocks. The last run ends the file.
func sparseMap(data []span, size int64) []byte {
	if n := len(data); n == 0 || data[n-1].off+data[n-1].n < size {
		data = append(slices.Clip(data), span{size, 0})
	}
	b := fmt.Appendf(nil, "%d\n", len(data))
	for _, s := range data {
		b = fmt.Appendf(b, "%d\n%d\n", s.off, s.n)
	}
	return append(b, make([]byte, padding(int64(len(b))))...)
}

// finish writes the report, where there is something to say, and the end.
func (t *tarSink) finish(r *Report) error {
	if !r.Complete() {
		text := r.String()
		h := &tarHeader{name: freeReportName(t.top), kind: '0', mode: 0o644, size: int64(len(text))}
		if err := t.write(h); err != nil {
			return err
		}
		if _, err := io.WriteString(t.w, text+string(make([]byte, padding(int64(len(text)))))); err != nil {
			return err
		}
	}
	_, err := t.w.Write(make([]byte, 2*tarBlock))
	return err
}

// unixMode is the permissions with setuid, setgid and sticky, as stat(2) has them.
func unixMode(m fs.FileMode) uint32 {
	mode := uint32(m.Perm())
	for bit, value := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&bit != 0 {
			mode |= value
		}
	}
	return mode
}

// dosAttributes is the list that libarchive writes for files of Windows; nothing where it
// would say no more than that a file is to be archived, as for most.
func dosAttributes(a uint32) string {
	if a&7 == 0 {
		return ""
	}
	var list []string
	for _, f := range []struct {
		bit  uint32
		name string
	}{{1, "rdonly"}, {2, "hidden"}, {4, "system"}, {32, "archive"}} {
		if a&f.bit != 0 {
			list = append(list, f.name)
		}
	}
	return strings.Join(list, ",")
}
