//go:build unix

package torture_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/local"
)

// roundsVar is how often a process is stopped while another one takes over.
const roundsVar = "XENBACKUP_STOPS"

// A process is stopped in the middle of a point, as by a hypervisor or a debugger, for longer
// than its lock lives. Another one takes the lock over and backs up. When the first one goes
// on, it finds that out before it changes anything.
func TestStoppedWriterFindsOutThatItLostTheLock(t *testing.T) {
	t.Parallel() // most of it is waiting
	random := rand.New(rand.NewPCG(seeded(t), 5))
	for range number(t, roundsVar, 1) {
		g := guest{Seed: random.Uint64(), Disks: 2, Blocks: 2, Keep: 2, Format: catalog.FormatFile, Rivals: true}
		if random.IntN(2) == 0 {
			g.Format = catalog.FormatPlain
		}
		stopAndGoOn(t, g, random)
	}
}

func stopAndGoOn(t *testing.T, g guest, random *rand.Rand) {
	t.Helper()
	dir := newTemplate(t, g).dir
	folder := openFolder(t, dir)
	books := newLedger(g)
	steps := 1 // the commit
	for d := range g.Disks {
		steps += len(g.blocks(d, 3, 4))
	}
	stopped := newChild(t, &orders{Task: "hold", Dir: dir, Guest: g, Generation: 4, HoldAt: 1 + random.IntN(steps)})
	stdin, said := stopped.talk(t)
	line, err := said.ReadString('\n')
	require.NoError(t, err, &stopped.output)
	require.Equal(t, holding+"\n", line)
	require.NoError(t, stopped.Process.Signal(syscall.SIGSTOP))

	start := time.Now()
	c := newChild(t, &orders{Task: "backup", Dir: dir, Guest: g, Generation: 5})
	require.True(t, c.run(t))
	t.Logf("another process took over and backed up after %v", time.Since(start).Round(time.Second))
	books.owe(5)
	before := treeOf(t, folder)

	_, err = io.WriteString(stdin, "go on\n")
	require.NoError(t, err)
	require.NoError(t, stopped.Process.Signal(syscall.SIGCONT))
	rest, err := io.ReadAll(said)
	require.NoError(t, err)
	require.True(t, stopped.end(t), "%s", rest)
	require.Contains(t, string(rest), fenced)
	require.NotContains(t, string(rest), committed)
	require.Equal(t, before, treeOf(t, folder), "it must not have changed anything")

	require.NoError(t, g.backup(t.Context(), folder, 6, func() { books.owe(6) }))
	listed, err := books.audit(t.Context(), folder)
	require.NoError(t, err)
	require.Equal(t, []int{5, 6}, listed)
	left, err := leavings(t.Context(), folder, guestVM, "")
	require.NoError(t, err)
	require.Empty(t, left)
}

// talk starts a child that one can talk with.
func (c *child) talk(t *testing.T) (io.Writer, *bufio.Reader) {
	t.Helper()
	stdin, err := c.StdinPipe()
	require.NoError(t, err)
	read, write, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { read.Close() })
	c.Stdout = write
	require.NoError(t, c.Start())
	t.Cleanup(func() { _ = c.Process.Kill() })
	require.NoError(t, write.Close())
	return stdin, bufio.NewReader(read)
}

// treeOf is all that is in the repository, with digests of the files.
func treeOf(t *testing.T, folder *local.FS) map[string]string {
	t.Helper()
	tree := map[string]string{}
	require.NoError(t, remote.Walk(t.Context(), folder, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			tree[name] = ""
			return err
		}
		data, err := remote.ReadFile(t.Context(), folder, name, 64<<20)
		sum := sha256.Sum256(data)
		tree[name] = hex.EncodeToString(sum[:])
		return err
	}))
	return tree
}

// Two processes want the same VM at the same time, again and again, and one of them is
// stopped at any moment.
func TestTwoWritersNeverMeet(t *testing.T) {
	t.Parallel()
	seed := seeded(t)
	random := rand.New(rand.NewPCG(seed, 6))
	g := guest{Seed: seed, Disks: 2, Blocks: 2, Keep: 2, Format: catalog.FormatPlain, Rivals: true}
	dir := newTemplate(t, g).dir
	folder, books := openFolder(t, dir), newLedger(g)
	generation, fencedOff := 3, 0
	for range number(t, roundsVar, 1) {
		one := newChild(t, &orders{Task: "backup", Dir: dir, Guest: g, Generation: generation + 1})
		two := newChild(t, &orders{Task: "backup", Dir: dir, Guest: g, Generation: generation + 2})
		require.NoError(t, one.Start())
		timer := time.AfterFunc(time.Duration(random.Int64N(int64(300*time.Millisecond))), func() {
			_ = one.Process.Signal(syscall.SIGSTOP)
		})
		require.NoError(t, two.Start())
		twoErr := two.Wait()
		timer.Stop()
		_ = one.Process.Signal(syscall.SIGCONT)
		oneErr := one.Wait()
		for i, c := range []*child{one, two} {
			if c.said(committed) {
				books.owe(generation + 1 + i)
			}
		}
		require.NoError(t, twoErr, "%s", &two.output)
		if oneErr != nil { // it came too late, or lost the lock
			require.True(t, strings.Contains(one.output.String(), remote.ErrLockLost.Error()) ||
				strings.Contains(one.output.String(), catalog.ErrNotNewer.Error()), "%s", &one.output)
			fencedOff++
		}
		generation += 2
		_, err := books.audit(t.Context(), folder)
		require.NoError(t, err)
	}
	require.NoError(t, g.backup(t.Context(), folder, generation+1, func() { books.owe(generation + 1) }))
	listed, err := books.audit(t.Context(), folder)
	require.NoError(t, err)
	require.Len(t, listed, g.Keep)
	left, err := leavings(context.WithoutCancel(t.Context()), folder, guestVM, "")
	require.NoError(t, err)
	require.Empty(t, left)
	t.Logf("%d generations, %d times a writer gave up", generation, fencedOff)
}
