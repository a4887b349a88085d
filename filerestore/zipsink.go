package filerestore

import (
	"archive/zip"
	"encoding/binary"
	"errors"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/flate"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// zipSink writes a zip archive.
type zipSink struct {
	w       *zip.Writer
	windows bool
	top     map[string]bool // names that the report must not have
}

func newZipSink(w io.Writer, windows bool) *zipSink {
	z := zip.NewWriter(w)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(w, flate.BestSpeed)
	})
	return &zipSink{w: z, windows: windows, top: map[string]bool{}}
}

func (z *zipSink) name(raw string) string {
	if z.windows {
		return windowsName(raw)
	}
	return textName(raw)
}

func (z *zipSink) keepsHoles() bool     { return false }
func (z *zipSink) link(_ *entry) error  { return errors.ErrUnsupported }
func (z *zipSink) again(*entry) error   { return nil }
func (z *zipSink) special(*entry) error { return skip(errSpecial) }

func (z *zipSink) create(e *entry, suffix string) (io.Writer, error) {
	h := &zip.FileHeader{Name: e.name + suffix, Modified: e.info.Modified, Method: zip.Deflate}
	if isPacked(e.name) || suffix == "/" {
		h.Method = zip.Store
	}
	h.SetMode(e.info.Mode)
	h.Extra = unixExtra(e.info.UID, e.info.GID)
	reportName(z.top, e.name)
	return z.w.CreateHeader(h)
}

func (z *zipSink) directory(e *entry) error {
	_, err := z.create(e, "/")
	return err
}

func (z *zipSink) file(e *entry, content *fsys.File, data []span, copier *copier) error {
	w, err := z.create(e, "")
	if err != nil {
		return err
	}
	return copier.copy(content, data, func(p []byte, _ int64) error {
		_, err := w.Write(p)
		return err
	})
}

func (z *zipSink) symlink(e *entry) error {
	w, err := z.create(e, "")
	if err == nil {
		_, err = io.WriteString(w, e.target)
	}
	return err
}

func (z *zipSink) finish(r *Report) error {
	if !r.Complete() {
		w, err := z.w.Create(freeReportName(z.top))
		if err == nil {
			_, err = io.WriteString(w, r.String())
		}
		if err != nil {
			return err
		}
	}
	return z.w.Close()
}

// unixExtra is the field 0x7875 of Info-ZIP: version, then size and value of each id.
func unixExtra(uid, gid uint32) []byte {
	b := binary.LittleEndian.AppendUint16(nil, 0x7875)
	b = binary.LittleEndian.AppendUint16(b, 11)
	b = append(b, 1, 4)
	b = binary.LittleEndian.AppendUint32(b, uid)
	b = append(b, 4)
	return binary.LittleEndian.AppendUint32(b, gid)
}

// isPacked tells of content that does not become smaller.
func isPacked(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".zip", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".jpg", ".jpeg", ".png", ".gif", ".webp", ".heic",
		".mp3", ".mp4", ".mkv", ".avi", ".mov", ".ogg", ".webm", ".docx", ".xlsx", ".pptx", ".odt", ".ods", ".jar", ".apk", ".deb", ".rpm":
		return true
	}
	return false
}

const reportFile = "RESTORE-REPORT.txt"

// reportName remembers a name at the top that looks like that of the report.
func reportName(seen map[string]bool, name string) {
	top, _, _ := strings.Cut(name, "/")
	if top = strings.ToUpper(top); len(seen) < 1000 && strings.HasPrefix(top, "RESTORE-REPORT") {
		seen[top] = true
	}
}

// freeReportName is one that is not taken.
func freeReportName(seen map[string]bool) string {
	name := reportFile
	for seen[strings.ToUpper(name)] {
		name = strings.TrimSuffix(name, ".txt") + "-again.txt"
	}
	return name
}

func asSkip(err error) (*skipError, bool) { return errors.AsType[*skipError](err) }
