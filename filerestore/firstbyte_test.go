package filerestore_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/remotetest"
	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// chained adds points of a disk of this size that begins with content, until its chain has
// so many links: the first one has all blocks, those after it one each, and the others none.
func (r *repository) chained(content []byte, size int64, links int) *catalog.Point {
	r.tb.Helper()
	ctx, blocks := r.tb.Context(), filled(content)
	var base *catalog.Base
	for n := range links {
		w, err := r.session.NewPoint(ctx, r.spec())
		require.NoError(r.tb, err)
		list := blocks
		if n > 0 {
			list = blocks[min(n, len(blocks)):min(n+1, len(blocks))]
		}
		d, err := w.CreateDisk(ctx, catalog.DiskSpec{
			Ref: "OpaqueRef:0", SourceVDI: sourceVDI(0), SnapshotVDI: snapshotVDI(0, r.points), Size: size, Blocks: list, Base: base,
		})
		require.NoError(r.tb, err)
		for _, b := range list {
			require.NoError(r.tb, d.WriteBlock(b, content[int(b)*disk.BlockSize:min(len(content), int(b+1)*disk.BlockSize)]))
		}
		require.NoError(r.tb, d.Close())
		r.last, err = w.Commit(ctx, catalog.Metadata{
			VM: json.RawMessage(`{"uuid":"` + testVM + `"}`), VMSnapshot: json.RawMessage(`{"suspend_VDI":"OpaqueRef:NULL"}`),
			VDIs: map[string]json.RawMessage{"OpaqueRef:0": fmt.Appendf(nil, `{"uuid":%q,"$snapshot_of$uuid":%q,"virtual_size":%d}`, snapshotVDI(0, r.points), sourceVDI(0), size)},
			VBDs: map[string]json.RawMessage{"OpaqueRef:vbd": json.RawMessage(`{"VDI":"OpaqueRef:0","userdevice":"0"}`)},
		})
		require.NoError(r.tb, err)
		uuid, err := vhd.ParseUUID(snapshotVDI(0, r.points))
		require.NoError(r.tb, err)
		base = &catalog.Base{Path: r.last.Metadata.VHDs["OpaqueRef:0"], UUID: uuid, Size: size, Links: n + 1, Format: catalog.FormatFile}
	}
	return r.last
}

// first ends an archive with its first byte.
type first struct{ cancel context.CancelFunc }

func (w first) Write(p []byte) (int, error) {
	w.cancel()
	return len(p), nil
}

// firstByte is from the opening of a backup until the first byte of a file goes out.
func firstByte(tb testing.TB, c *catalog.Catalog, p *catalog.Point) *filerestore.Session {
	tb.Helper()
	s, err := filerestore.OpenBackup(tb.Context(), c, p, nil)
	require.NoError(tb, err)
	ctx, cancel := context.WithCancel(tb.Context())
	_, err = s.Archive(ctx, first{cancel}, filerestore.Tar, []filerestore.Selection{{Volume: "other", Path: "etc/deep/er/numbers"}}, nil)
	require.ErrorIs(tb, err, context.Canceled)
	return s
}

// On a network each request waits for an answer: the links of a chain are opened several
// at a time.
func TestFirstByteOfALongChainTakesFewRoundTrips(t *testing.T) {
	content := unpack(t, "c")
	synctest.Test(t, func(t *testing.T) {
		slow := remotetest.NewFaulty(remotetest.NewCrash())
		r := repositoryOn(t, slow)
		p := r.chained(content, 64<<20, vhd.FileRestoreMaxLinks)
		slow.DelayFrom(1, time.Millisecond)
		begun := time.Now()
		s := firstByte(t, r.catalog, p)
		elapsed := time.Since(begun)
		t.Logf("%d links in %v of 1 ms each", vhd.FileRestoreMaxLinks, elapsed)
		require.Less(t, elapsed, 100*time.Millisecond)
		slow.Heal()
		require.NoError(t, s.Close())
	})
}
