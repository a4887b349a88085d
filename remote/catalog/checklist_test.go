package catalog_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"path"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/crypt"
	"github.com/xenbackup/xenbackup/remote/remotetest"
	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// What Xen Orchestra must find to list, restore, continue and merge what is written here,
// when it was written and after retention and merges.
func TestWhatIsWrittenIsWhatXenOrchestraNeeds(t *testing.T) {
	for name, opts := range map[string]*catalog.Options{
		"files": {}, "directories": {Format: catalog.FormatBrotli}, "encrypted": {Key: testKey},
	} {
		t.Run(name, func(t *testing.T) {
			m, fsys := repositoryOf(t, 4, opts)
			for _, keep := range []int{100, 2} {
				_, err := m.backup(t.Context(), fsys, keep)
				require.NoError(t, err)
				checkList(t, fsys, opts)
			}
		})
	}
}

func checkList(t *testing.T, raw *remotetest.Crash, opts *catalog.Options) {
	t.Helper()
	var fsys remote.Filesystem = raw
	if opts.Key != "" {
		clear, err := crypt.Open(t.Context(), raw, opts.Key)
		require.NoError(t, err)
		fsys = clear
	}
	entries, err := fsys.ReadDir(t.Context(), testVMDir)
	require.NoError(t, err)
	var before string
	for _, e := range entries { // all else in this directory Xen Orchestra deletes
		if e.Name() == "vdis" || e.Name() == "cache.json.gz" {
			continue
		}
		require.Regexp(t, `^\d{8}T\d{6}Z\.json$`, e.Name())
		require.Greater(t, e.Name(), before)
		before = e.Name()
		checkPointFile(t, fsys, path.Join(testVMDir, e.Name()), opts)
	}
	require.NoError(t, walk(t.Context(), fsys, testVMDir, func(name string) {
		require.False(t, remote.IsTemp(name) || strings.HasSuffix(name, ".merge.json"), name)
	}))
	_, err = fsys.Stat(t.Context(), testVMDir+".lock")
	require.Error(t, err, "the lock was given back")
}

func checkPointFile(t *testing.T, fsys remote.Filesystem, name string, opts *catalog.Options) {
	t.Helper()
	data, err := remote.ReadFile(t.Context(), fsys, name, 1<<20)
	require.NoError(t, err)
	require.NotEqual(t, byte('\n'), data[len(data)-1])
	var p struct {
		Mode, Version, JobID, ScheduleID string
		Timestamp, Size                  int64
		VM                               struct{ UUID string }
		VMSnapshot                       map[string]string
		VHDs                             map[string]string
		VDIs, VBDs, VIFs                 map[string]json.RawMessage
		VTPMs, Tags                      []string
		IsVhdDifferencing                map[string]bool
		IncludeNonNbdQcow2Fix            bool
	}
	require.NoError(t, json.Unmarshal(data, &p))
	require.Equal(t, testVM, p.VM.UUID, "the name of the directory")
	require.Equal(t, catalog.FormatDate(time.UnixMilli(p.Timestamp))+".json", path.Base(name))
	require.Equal(t, []string{"delta", "2.0.0", testJob, testSchedule}, []string{p.Mode, p.Version, p.JobID, p.ScheduleID})
	require.Equal(t, "OpaqueRef:NULL", p.VMSnapshot["suspend_VDI"])
	require.True(t, p.IncludeNonNbdQcow2Fix)
	require.Positive(t, p.Size)
	for _, list := range []any{p.VBDs, p.VIFs, p.VTPMs, p.Tags} {
		require.NotNil(t, list)
	}
	require.Len(t, p.VHDs, 2)
	require.Len(t, p.IsVhdDifferencing, 2)
	targets := map[string]bool{}
	for ref, file := range p.VHDs {
		var vdi struct {
			UUID   string `json:"uuid"`
			Source string `json:"$snapshot_of$uuid"`
		}
		require.NoError(t, json.Unmarshal(p.VDIs[ref], &vdi))
		require.Equal(t, path.Join("vdis", testJob, vdi.Source), path.Dir(file))
		require.True(t, strings.HasPrefix(path.Base(file), strings.TrimSuffix(path.Base(name), ".json")+"."))
		full := path.Join(testVMDir, file)
		if strings.HasSuffix(file, ".alias.vhd") {
			target := checkDirectory(t, fsys, full)
			require.False(t, targets[target])
			targets[target] = true
		} else {
			require.Empty(t, opts.Key, "no files where all is encrypted")
			checkDiskFile(t, fsys, full, vdi.UUID)
		}
	}
}

// checkDirectory looks at a disk kept as a directory, and returns it.
func checkDirectory(t *testing.T, fsys remote.Filesystem, alias string) string {
	t.Helper()
	text, err := remote.ReadFile(t.Context(), fsys, alias, 1024)
	require.NoError(t, err)
	require.Regexp(t, `^data/\d{8}T\d{6}Z\.vhd$`, string(text))
	dir := path.Join(path.Dir(alias), string(text))
	filters, err := remote.ReadFile(t.Context(), fsys, dir+"/chunk-filters.json", 1024)
	require.NoError(t, err)
	require.JSONEq(t, `["brotli"]`, string(filters))
	known := regexp.MustCompile(`^(chunk-filters\.json|header|footer|bat|blocks/\d+/(0|[1-9]\d{0,2}))$`)
	require.NoError(t, walk(t.Context(), fsys, dir, func(name string) {
		require.Regexp(t, known, strings.TrimPrefix(name, dir+"/"))
	}))
	return dir
}

// checkDiskFile looks at a disk kept as a file.
func checkDiskFile(t *testing.T, fsys remote.Filesystem, name, snapshot string) {
	t.Helper()
	data, err := remote.ReadFile(context.Background(), fsys, name, 64<<20)
	require.NoError(t, err)
	require.Equal(t, data[:512], data[len(data)-512:], "both footers")
	img, err := vhd.Open(strings.NewReader(string(data)), int64(len(data)), nil)
	require.NoError(t, err)
	require.Equal(t, snapshot, img.UUID().String(), "the tip's uuid is the snapshot's: the next delta is found by it")
	require.EqualValues(t, disk.BlockSize, img.BlockSize())
	require.Contains(t, []vhd.DiskType{vhd.Dynamic, vhd.Differencing}, img.Type())
	for _, parent := range img.Parent().Names {
		require.Regexp(t, `^(\./)?\d{8}T\d{6}Z\.vhd$`, parent, "relative to the directory of the file")
	}
	table := int64(binary.BigEndian.Uint64(data[512+16:])) // of the header
	for i := range img.Blocks() {
		sector := int64(binary.BigEndian.Uint32(data[table+4*int64(i):]))
		for _, b := range data[sector*512 : sector*512+512] {
			require.Equal(t, byte(0xff), b, "bitmaps are full: Xen Orchestra does not look at them")
		}
	}
}
