package catalog_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/remotetest"
	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xva"
)

const archivedDisk = "Ref:7"

// archiveOf is an archive of a VM with one disk.
func archiveOf(t *testing.T, content []byte) []byte {
	t.Helper()
	ova := &xva.OVA{Version: xva.Version{ExportVSN: 2}, Objects: []xva.Object{
		{Class: "VBD", ID: "Ref:1", Snapshot: map[string]any{"VDI": archivedDisk, "type": "Disk"}},
		{Class: "VDI", ID: archivedDisk, Snapshot: map[string]any{"virtual_size": strconv.Itoa(len(content))}},
	}}
	var archive bytes.Buffer
	src := vhd.NewRaw(bytes.NewReader(content), int64(len(content)))
	require.NoError(t, xva.Write(t.Context(), &archive, ova, map[string]disk.Source{archivedDisk: src}, nil))
	return archive.Bytes()
}

func TestDisksInsideAFullPointAreReadAnywhere(t *testing.T) {
	content := bytes.Repeat([]byte("content of a disk "), 3<<20/18)[:3<<20-512]
	clear(content[1<<20 : 2<<20])
	archive := archiveOf(t, content)
	fsys := remotetest.NewCrash()
	p := archivePoint(t, fsys, archive, "")
	c := openCatalog(t, fsys)
	disks, err := c.OpenArchiveDisks(t.Context(), p)
	require.NoError(t, err)
	require.Len(t, disks.Images(), 1)
	image := disks.Image(archivedDisk)
	got, err := io.ReadAll(io.NewSectionReader(image, 0, image.Size()))
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, got))
	require.ErrorIs(t, disks.Confirm(t.Context()), catalog.ErrExpired, "there is no JSON here")
	require.NoError(t, remote.WriteFile(t.Context(), fsys, p.ID, []byte("{}")))
	require.NoError(t, disks.Confirm(t.Context()))
	require.NoError(t, disks.Close())

	p.Metadata.Size--
	_, err = c.OpenArchiveDisks(t.Context(), p)
	require.ErrorIs(t, err, catalog.ErrDamaged)
	p.Metadata.Size = 0
	truncate(t, fsys, strings.TrimSuffix(p.ID, ".json")+".xva", int64(len(archive)/2))
	_, err = c.OpenArchiveDisks(t.Context(), p)
	require.ErrorIs(t, err, xva.ErrTruncated)
	for name, want := range map[string]error{"../x.xva": catalog.ErrOutside, "./x.xva": fs.ErrNotExist, "": fs.ErrNotExist} {
		p.Metadata.XVA = name
		_, err = c.OpenArchiveDisks(t.Context(), p)
		require.ErrorIs(t, err, want, name)
	}
}

func TestDisksOfCompressedOrEncryptedArchivesAreStreamsOnly(t *testing.T) {
	streams := 0
	for _, repo := range []*testenv.Repository{testenv.Golden(t), testenv.GoldenEncrypted(t)} {
		fsys := localFS(t, repo.Dir)
		c, err := catalog.Open(t.Context(), fsys, nil)
		if err != nil {
			c, err = catalog.Open(t.Context(), fsys, &catalog.Options{Key: testenv.GoldenKey})
		}
		require.NoError(t, err)
		for id, backup := range repo.Backups {
			if backup.Mode != catalog.ModeFull {
				continue
			}
			p, err := c.Point(t.Context(), id)
			require.NoError(t, err)
			_, err = c.OpenArchiveDisks(t.Context(), p)
			if errors.Is(err, xva.ErrMember) {
				continue // the plain one: its ova.xml lists no disk
			}
			require.ErrorIs(t, err, catalog.ErrSequential)
			streams++
		}
	}
	require.Equal(t, 3, streams, "one of gzip, two encrypted")
}
