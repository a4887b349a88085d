package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// digests are the SHA-256 of a VM's disks, by the uuid of the live disk.
type digests map[string]string

// result is a row of the closing table: one disk at one point.
type result struct {
	point, disk string
	want        string // what the guest's disk held at that moment
	kept        string // what the repository gives
	restored    string // what the restored VM's disk holds; "" when this point was not restored
}

func (r result) right() bool {
	return r.want != "" && r.kept == r.want && (r.restored == "" || r.restored == r.want)
}

// digestFile returns the SHA-256 of the first size bytes of a disk that is a raw
// file: storage may have rounded a new disk up.
func digestFile(ctx context.Context, path string, size int64) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return digest(ctx, io.NewSectionReader(f, 0, size))
}

// digestPoint returns the SHA-256 of a disk as the repository keeps it.
func digestPoint(ctx context.Context, repository *catalog.Catalog, p *catalog.Point, ref string) (string, error) {
	d, err := repository.OpenDisk(ctx, p, ref)
	if err != nil {
		return "", err
	}
	defer d.Close()
	return digest(ctx, io.NewSectionReader(d, 0, d.Size()))
}

func digest(ctx context.Context, r *io.SectionReader) (string, error) {
	h := sha256.New()
	buf := make([]byte, disk.BlockSize)
	for {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		n, err := io.ReadFull(r, buf)
		h.Write(buf[:n])
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return hex.EncodeToString(h.Sum(nil)), nil
		case err != nil:
			return "", err
		}
	}
}

// printTable prints the rows; the error is errDiffers unless all of them are right.
func printTable(w io.Writer, rows []result) error {
	all := true
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "restore point\tdisk\tguest's disk (sha256)\trepository\trestored VM")
	for _, r := range rows {
		all = all && r.right()
		fmt.Fprintln(table, strings.Join([]string{r.point, r.disk, r.want[:min(16, len(r.want))], verdict(r.kept, r.want), verdict(r.restored, r.want)}, "\t"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if !all {
		return errDiffers
	}
	return nil
}

func verdict(got, want string) string {
	switch got {
	case "":
		return "-"
	case want:
		return "same"
	}
	return "DIFFERS"
}
