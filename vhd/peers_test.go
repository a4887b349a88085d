package vhd_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/vhd"
)

// mounted mounts an image and its parents with libvhdi and returns the directory
// in which the disks then are.
func mounted(t *testing.T, image string) string {
	t.Helper()
	mount, fusermount := testenv.Require(t, "vhdimount"), testenv.Require(t, "fusermount")
	if _, err := os.Stat("/dev/fuse"); err != nil {
		testenv.Missing(t, "no /dev/fuse: %v", err)
	}
	point := filepath.Join(t.TempDir(), "mnt")
	require.NoError(t, os.Mkdir(point, 0o700))
	out, err := exec.CommandContext(t.Context(), mount, image, point).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Cleanup(func() {
		out, err := exec.CommandContext(context.WithoutCancel(t.Context()), fusermount, "-u", point).CombinedOutput()
		require.NoError(t, err, "%s", out)
	})
	return point
}

// TestLibvhdiAgreesAboutPartlyFilledBlocks reads chains whose blocks are spread over
// the images, with blocks of one size and of several. It is in units of 4 KiB, since
// libvhdi 20210425 reads the first sector after a shorter run of a child as zeros.
func TestLibvhdiAgreesAboutPartlyFilledBlocks(t *testing.T) {
	for _, blockSizes := range [][3]int64{{2 << 20, 2 << 20, 2 << 20}, {512 << 10, 512 << 10, 512 << 10}, {512 << 10, 2 << 20, 4 << 20}} {
		t.Run(fmt.Sprint(blockSizes), func(t *testing.T) {
			dir := t.TempDir()
			for k, blockSize := range blockSizes { // the root first
				s := &spec{typ: vhd.Differencing, size: 8 << 20, blockSize: blockSize, uuid: byte(k + 1), parent: byte(k), parentName: fmt.Sprintf("%d.vhd", k-1)}
				if k == 0 {
					s.typ = vhd.Dynamic
				}
				for n := int64(8 * k); n < 8<<11; n += int64(40 - 16*(k%2)) {
					for i := range min(8, 8<<11-n) {
						s.put(n+i, filled(s.uuid, n+i))
					}
				}
				require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.vhd", k)), s.encode(), 0o600))
			}
			chain, err := vhd.OpenDirChain(t.Context(), vhd.OSDir(openRoot(t, dir)), "2.vhd", nil)
			require.NoError(t, err)
			defer func() { require.NoError(t, chain.Close()) }()
			theirs, err := os.ReadFile(filepath.Join(mounted(t, filepath.Join(dir, "2.vhd")), "vhdi3"))
			require.NoError(t, err)
			require.True(t, bytes.Equal(theirs, readAll(t, chain)))
		})
	}
}

// TestLibvhdiAgreesAboutTheChainsOfXO reads every chain of files of the golden
// repository.
func TestLibvhdiAgreesAboutTheChainsOfXO(t *testing.T) {
	info := testenv.Require(t, "vhdiinfo")
	repo := testenv.Golden(t)
	disks := goldenDisks(t, repo)
	for _, d := range disks[:min(len(disks), 2)] {
		file := filepath.Join(repo.Dir, d.path)
		out, err := exec.CommandContext(t.Context(), info, file).CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), fmt.Sprintf("(%d bytes)", d.want.Size))
		point := mounted(t, file)
		found, err := os.ReadDir(point)
		require.NoError(t, err)
		theirs, err := os.ReadFile(filepath.Join(point, found[len(found)-1].Name()))
		require.NoError(t, err)
		require.Equal(t, d.want.SHA256, sum(theirs), d.path)
	}
}
