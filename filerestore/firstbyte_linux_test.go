package filerestore_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/all"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/vhd"
)

// BenchmarkFirstByte is from the opening of a backup until the first byte of a file goes
// out: its disk has 99 links, lies in the page cache, and has a volume group with ext4.
func BenchmarkFirstByte(b *testing.B) {
	content := unpack(b, "c")
	server := testenv.StartGanesha(b)
	fsys, err := local.Open(server.Dir(), nil)
	require.NoError(b, err)
	r := repositoryOn(b, fsys)
	for _, size := range []int64{64 << 20, 64 << 30} {
		p := r.chained(content, size, vhd.FileRestoreMaxLinks)
		for name, url := range map[string]string{"local": "file://" + server.Dir(), "nfs": server.URL("/data")} {
			b.Run(fmt.Sprintf("%s/disk=%dM", name, size>>20), func(b *testing.B) {
				fsys, err := all.Opener().Open(b.Context(), url, &remote.Options{})
				require.NoError(b, err)
				defer fsys.Close()
				c, err := catalog.Open(b.Context(), fsys, nil)
				require.NoError(b, err)
				for b.Loop() {
					s := firstByte(b, c, p)
					b.StopTimer()
					require.NoError(b, s.Close())
					b.StartTimer()
				}
			})
		}
	}
}
