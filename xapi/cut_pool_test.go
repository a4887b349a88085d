package xapi_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
	"github.com/xenbackup/xenbackup/xva"
)

// scissors end answers to GET after some bytes of their body, as a middlebox does that gives up: the host has sent all, and is content.
type scissors struct {
	through http.RoundTripper
	after   int64 // -1 lets all pass
}

func (s *scissors) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := s.through.RoundTrip(r)
	if err == nil && r.Method == http.MethodGet && s.after >= 0 {
		end := io.EOF
		if resp.ContentLength >= 0 {
			end = io.ErrUnexpectedEOF
		}
		resp.Body = &cutBody{resp.Body, s.after, end}
	}
	return resp, err
}

type cutBody struct {
	io.ReadCloser

	left int64
	end  error
}

func (b *cutBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		_, _ = io.Copy(io.Discard, b.ReadCloser) // the host gets rid of everything
		return 0, b.end
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// wholeVHD reads a stream as a backup does.
func wholeVHD(r io.Reader) error {
	stream, err := vhd.NewStreamReader(r)
	if err != nil {
		return err
	}
	block := make([]byte, stream.Header().BlockSize)
	for err == nil {
		_, _, err = stream.Next(block)
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	return stream.Close()
}

func wholeXVA(r io.Reader) error {
	archive, err := xva.NewReader(r, nil)
	if err != nil {
		return err
	}
	defer func() { _ = archive.Close() }()
	for err == nil {
		_, err = archive.Next()
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return err
}

func wholeBytes(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

// complete is what a backup asks of an export: that the structure is whole, and that the pool agrees.
func complete(ctx context.Context, d *xapi.Download, whole func(io.Reader) error) error {
	defer func() { _ = d.Close() }()
	return errors.Join(whole(d), d.Finish(ctx)) // which knows better what is wrong
}

// exports are all of them, by name.
var exports = map[string]struct {
	request string
	open    func(ctx context.Context, c *xapi.Client, p *xapitest.Pool) (*xapi.Download, error)
	whole   func(io.Reader) error
}{
	"VHD": {"GET /export_raw_vdi", func(ctx context.Context, c *xapi.Client, p *xapitest.Pool) (*xapi.Download, error) {
		return c.ExportVDI(ctx, vdiOf(p), nil)
	}, wholeVHD},
	"raw": {"GET /export_raw_vdi", func(ctx context.Context, c *xapi.Client, p *xapitest.Pool) (*xapi.Download, error) {
		return c.ExportVDI(ctx, vdiOf(p), &xapi.ExportVDIOptions{Format: "raw"})
	}, wholeBytes},
	"XVA":      {"GET /export", exportOf(xapi.CompressNone), wholeXVA},
	"XVA gzip": {"GET /export", exportOf(xapi.CompressGzip), wholeXVA},
	"XVA zstd": {"GET /export", exportOf(xapi.CompressZstd), wholeXVA},
	"metadata": {"GET /export_metadata", func(ctx context.Context, c *xapi.Client, p *xapitest.Pool) (*xapi.Download, error) {
		return c.ExportMetadata(ctx, vmOf(p), nil)
	}, wholeBytes},
	"database": {"GET /pool/xmldbdump", func(ctx context.Context, c *xapi.Client, _ *xapitest.Pool) (*xapi.Download, error) {
		return c.DumpDatabase(ctx, nil)
	}, wholeBytes},
}

func exportOf(compression xapi.Compression) func(context.Context, *xapi.Client, *xapitest.Pool) (*xapi.Download, error) {
	return func(ctx context.Context, c *xapi.Client, p *xapitest.Pool) (*xapi.Download, error) {
		return c.ExportVM(ctx, vmOf(p), &xapi.ExportVMOptions{Compression: compression})
	}
}

// squeezable is content that compresses well, but not to nothing.
func squeezable(n int) []byte { return bytes.Repeat(pattern(4<<10), n>>12) }

// cuttable is a pool with a VM, web, that has a disk of that content, or none; and a client of it whose exports can be cut.
func cuttable(t *testing.T, content []byte) (*xapitest.Pool, *xapi.Client, *scissors) {
	t.Helper()
	inventory := xapitest.Inventory{VMs: []xapitest.VM{{Name: "web"}}}
	if content != nil {
		image := filepath.Join(t.TempDir(), "disk.raw")
		require.NoError(t, os.WriteFile(image, content, 0o600))
		inventory.VMs[0].Disks = []xapitest.Disk{{Content: image}}
	}
	p := xapitest.NewPool(t, inventory)
	cut := &scissors{through: &http.Transport{ReadBufferSize: 256 << 10}, after: -1}
	c, err := xapi.Dial(t.Context(), p.URL(), &xapi.Options{Password: xapi.Secret(p.Password()), Transport: cut, PollInterval: time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return p, c, cut
}

// TestExportsCutAnywhereAreNeverComplete: at every 64 KiB and at each of the last 1,024 bytes, whether the pool notices or not.
func TestExportsCutAnywhereAreNeverComplete(t *testing.T) {
	t.Parallel()
	for name, export := range exports {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			content := squeezable(4 << 20)
			for _, tail := range []bool{false, true} {
				if tail { // the shortest that has an end of this kind: 1,024 of them are read
					content = make([]byte, 2<<20)
				}
				if tail && strings.HasPrefix(name, "XVA ") {
					content = nil
				}
				p, c, cut := cuttable(t, content)
				try := func(whole func(io.Reader) error) error {
					d, err := export.open(t.Context(), c, p)
					if err != nil {
						return err
					}
					return complete(t.Context(), d, whole)
				}
				var size int64
				require.NoError(t, try(func(r io.Reader) (err error) {
					size, err = io.Copy(io.Discard, r)
					return err
				}))
				require.NoError(t, try(export.whole))
				refuted := func(at int64, err error) {
					require.Error(t, err, "cut at %d of %d", at, size)
					requireNoSecret(t, err)
				}
				for at := int64(0); at < size && !tail; at += min(sweepStride, 7) * 64 << 10 {
					cut.after = at
					refuted(at, try(export.whole))
					cut.after = -1
					p.Break(export.request, xapitest.OnCall(1), at, []xapitest.Ending{xapitest.Cut, xapitest.Reset, xapitest.ErrorPage}[at>>16%3])
					refuted(at, try(export.whole))
				}
				for at := max(0, size-1024); at < size && tail; at += sweepStride {
					cut.after = at
					refuted(at, try(export.whole))
				}
				require.Empty(t, p.Leaks())
			}
		})
	}
}
