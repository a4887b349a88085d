package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/xenbackup/xenbackup/internal/bench/benchpool"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/all"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// copier copies the stream of an export as it is, with the digest of each 2 MiB, and
// syncs it: what nobody who keeps digests can do without, and no more.
type copier struct{ to, at, vdi, base string }

func (c *copier) run(ctx context.Context, aside bool) error {
	from, err := c.get(ctx)
	if err != nil {
		return err
	}
	defer from.Close()
	if folder, ok := strings.CutPrefix(c.to, "file://"); ok {
		out, err := os.Create(filepath.Join(filepath.FromSlash(folder), "copy"))
		if err != nil {
			return err
		}
		return errors.Join(move(out, from, aside), out.Sync(), out.Close())
	}
	fsys, err := all.Opener().Open(ctx, c.to, nil)
	if err != nil {
		return err
	}
	defer fsys.Close()
	out, err := remote.Create(ctx, fsys, "copy")
	if err != nil {
		return err
	}
	if err := move(out, from, aside); err != nil {
		return errors.Join(err, out.Abort())
	}
	return out.Commit()
}

// get opens the stream without any client of a pool.
func (c *copier) get(ctx context.Context) (io.ReadCloser, error) {
	a, err := benchpool.ParseAddress(c.at)
	if err != nil {
		return nil, err
	}
	query := url.Values{"vdi": {c.vdi}, "format": {"vhd"}}
	if c.base != "" {
		query.Set("base", c.base)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.URL+"/export_raw_vdi?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(a.Username, a.Password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("the pool answers %s", resp.Status), resp.Body.Close())
	}
	return resp.Body, nil
}

// move copies block by block; aside means that a block is read, and its digest is
// taken, while the one before is written.
func move(to io.Writer, from io.Reader, aside bool) error {
	if !aside {
		block := make([]byte, disk.BlockSize)
		for {
			n, err := io.ReadFull(from, block)
			_ = sha256.Sum256(block[:n])
			if _, err := to.Write(block[:n]); err != nil {
				return err
			}
			if end, err := ended(err); end {
				return err
			}
		}
	}
	const ahead = 4
	free, full := make(chan []byte, ahead), make(chan []byte, ahead)
	for range ahead {
		free <- make([]byte, disk.BlockSize)
	}
	var readErr error
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(full)
		for block := range free {
			n, err := io.ReadFull(from, block)
			full <- block[:n]
			var end bool
			if end, readErr = ended(err); end {
				return
			}
		}
	})
	var writeErr error
	for block := range full {
		var digests sync.WaitGroup
		digests.Go(func() { _ = sha256.Sum256(block) })
		if writeErr == nil {
			_, writeErr = to.Write(block)
		}
		digests.Wait()
		free <- block[:cap(block)]
	}
	reader.Wait()
	return errors.Join(readErr, writeErr)
}

// ended says whether the error of io.ReadFull is the end, and what stays of it then.
func ended(err error) (bool, error) {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true, nil
	}
	return err != nil, err
}
