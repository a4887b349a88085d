package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// memory is what a process has had of it at most, in bytes.
type memory struct {
	Resident int64 // as the system counts; 0 where it does not say
	Go       int64 // as the runtime counts, which is all there is of it without what the race detector adds
}

// once runs one job of all VMs.
func (c *child) once(ctx context.Context) (m memory, err error) {
	s, err := c.open(ctx, func(fsys remote.Filesystem) remote.Filesystem { return fsys })
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	runner, err := pipeline.NewRunner(&s.opts)
	if err != nil {
		return m, err
	}
	_, err = runner.Run(ctx, c.job(pipeline.ModeDelta, c.VMs...), nil)
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return memory{Resident: procStatus("VmHWM"), Go: int64(stats.Sys)}, err
}

// What a job takes follows from its budget, not from the disks or their number. "make
// test" runs it without the race detector too.
func TestSixteenLargeDisksAtOnceFitInAQuarterOfAGiB(t *testing.T) {
	t.Parallel()
	const vms, size, limit = 16, 8 << 30, 256 << 20
	blocks := 6 // of each
	if underRace {
		blocks = 1
	}
	inventory := xapitest.Inventory{SRs: []xapitest.SR{{Name: "local"}}}
	for i := range vms {
		inventory.VMs = append(inventory.VMs, xapitest.VM{
			Name: fmt.Sprint("vm ", i), PowerState: "Running", Disks: []xapitest.Disk{{Name: "disk", Size: size}},
		})
	}
	pool := xapitest.NewPool(t, inventory)
	block := make([]byte, disk.BlockSize)
	random := rand.NewChaCha8([32]byte{})
	for _, vm := range pool.VMs() {
		for i := range int64(blocks) {
			_, _ = random.Read(block)
			require.NoError(t, pool.WriteVDI(vm.Disks[0].UUID, block, i*size/int64(blocks)))
		}
	}
	var used memory
	c := childOf(t, pool)
	c.do(t, &used)
	t.Logf("%d MiB resident, %d MiB of the runtime", used.Resident>>20, used.Go>>20)
	require.LessOrEqual(t, used.Go, int64(limit))
	if !underRace {
		require.LessOrEqual(t, used.Resident, int64(limit))
	}
	for _, id := range c.VMs {
		n := 0
		for _, err := range openFolder(t, c.Dir).Points(t.Context(), id) {
			require.NoError(t, err)
			n++
		}
		require.Equal(t, 1, n)
	}
}
