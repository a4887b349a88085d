package xva_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
	"github.com/xenbackup/xenbackup/xva"
)

// A pool of each generation exports a VM, suspended with its memory; its archive is read, and imported as it is, and so is one that is
// written anew of what was read.
func TestPoolsOfEachGenerationTakeTheirArchivesBack(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for version, sum := range map[string]xva.Checksum{"1.20": xva.SHA1, "25.6": xva.XXHash} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			pool := xapitest.NewPool(t, xapitest.Inventory{
				Hosts: []xapitest.Host{{Xapi: version}},
				VMs: []xapitest.VM{{
					Name: "web", PowerState: "Suspended", Memory: 3 * mib,
					Disks: []xapitest.Disk{{Size: 5 * mib}, {Size: 2*mib + 512}},
				}},
			})
			vm := pool.VM("web")
			want := []memory{sparse(5*mib, 0, 3*mib), noise(2*mib+512, 1)}
			for i, m := range want {
				require.NoError(t, os.WriteFile(vm.Disks[i].Path, m, 0o600))
			}
			client := pool.Client(t)
			for compression, kind := range map[xapi.Compression]xva.Compression{"": xva.None, xapi.CompressGzip: xva.Gzip, xapi.CompressZstd: xva.Zstd} {
				download, err := client.ExportVM(t.Context(), xapi.Ref[xapi.VM](vm.Ref), &xapi.ExportVMOptions{Compression: compression, PreservePowerState: true})
				require.NoError(t, err)
				raw, err := io.ReadAll(download)
				require.NoError(t, err)
				require.NoError(t, download.Finish(t.Context()))
				require.NoError(t, download.Close())

				disks, x, err := read(bytes.NewReader(raw), nil)
				require.NoError(t, err)
				require.Equal(t, kind, x.Compression())
				require.Equal(t, sum, x.Stats().Checksums)
				require.Equal(t, len(want)+1, len(disks), "disks and the memory")
				requireImported(t, pool, client, raw, want)
				if kind == xva.None {
					requireImported(t, pool, client, rewritten(t, open(t, raw, nil)), want)
				}
			}
		})
	}
}

// rewritten is an archive of what another one holds, for a pool of any age.
func rewritten(t *testing.T, a *xva.Archive) []byte {
	t.Helper()
	ova := a.OVA()
	ova.Version.Lower(1, 20)
	size, err := xva.Size(t.Context(), ova, a.Sources(), nil)
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, xva.Write(t.Context(), &out, ova, a.Sources(), nil))
	require.EqualValues(t, size, out.Len())
	return out.Bytes()
}

func requireImported(t *testing.T, pool *xapitest.Pool, client *xapi.Client, raw []byte, want []memory) {
	t.Helper()
	vms, err := client.ImportVM(t.Context(), int64(len(raw)), bytes.NewReader(raw), nil)
	require.NoError(t, err)
	require.Len(t, vms, 1)
	for _, vm := range pool.VMs() {
		if vm.Ref != string(vms[0]) {
			continue
		}
		require.Equal(t, len(want), len(vm.Disks))
		for i, m := range want {
			got, err := os.ReadFile(vm.Disks[i].Path)
			require.NoError(t, err)
			require.True(t, bytes.Equal(m, got[:min(len(got), len(m))]), "disk %d", i)
			require.Empty(t, bytes.Trim(got[min(len(got), len(m)):], "\x00"))
		}
		return
	}
	require.Fail(t, "no VM", fmt.Sprint(vms))
}

func TestVersionIsLoweredButNeverRaised(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ from, to, want [2]int64 }{
		{[2]int64{26, 17}, [2]int64{1, 20}, [2]int64{1, 20}},
		{[2]int64{1, 20}, [2]int64{26, 17}, [2]int64{1, 20}},
		{[2]int64{26, 17}, [2]int64{26, 3}, [2]int64{26, 3}},
		{[2]int64{26, 3}, [2]int64{26, 17}, [2]int64{26, 3}},
	} {
		v := xva.Version{XapiMajor: c.from[0], XapiMinor: c.from[1], ExportVSN: 2}
		v.Lower(c.to[0], c.to[1])
		require.Equal(t, c.want, [2]int64{v.XapiMajor, v.XapiMinor})
		require.LessOrEqual(t, v.Compare(c.to[0], c.to[1]), 0)
	}
}
