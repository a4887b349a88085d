package xapitest_test

import (
	"bytes"
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// In a bubble a client snapshots, exports and imports as outside, over a network
// in memory, and hours pass in no time: those of a slow pool, those of a stall
// until the client gives up, those of a session that grows old.
func TestClientWorksInABubble(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		p, err := xapitest.Start(oneVM("Running", 8*mib), &xapitest.Options{Dir: dir, Listener: xapitest.NewMemoryListener(), TLS: true})
		require.NoError(t, err)
		c := p.Client(t)
		live := p.VM("web").Disks[0]
		require.NoError(t, p.WriteVDI(live.UUID, random(3*mib, 1), mib))
		frozen := snapshot(t, p, c, "s").Disks[0]
		p.Slow("GET /export_raw_vdi", xapitest.OnCall(1), time.Minute)
		start := time.Now()
		disk := make([]byte, 8*mib)
		blocks, _ := export(t, c, frozen.Ref, "", disk)
		require.Equal(t, []uint32{0, 1}, blocks)
		require.True(t, bytes.Equal(disk, content(t, frozen.Path)))
		require.GreaterOrEqual(t, time.Since(start), 6*time.Minute, "a minute for each part")

		p.StallExport(mib)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Hour)
		d, err := c.ExportVDI(ctx, xapi.Ref[xapi.VDI](frozen.Ref), &xapi.ExportVDIOptions{Format: "raw"})
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, d)
		require.ErrorIs(t, err, xapi.ErrStalled)
		require.NoError(t, d.Close())
		cancel()

		<-time.After(25 * time.Hour)
		require.Equal(t, "web", call[string](t, c, "VM.get_name_label", p.VM("web").Ref), "the client logs in again")
		importRaw(t, c, call[string](t, c, "VDI.clone", frozen.Ref), random(mib, 2))
		require.NoError(t, c.Close())
		require.NoError(t, p.Close())
	})
}
