package smb

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
)

// TestTortureSamba kills or freezes the server at random moments while files are
// written and replaced. What was committed is there, whole; what was not is there
// whole, or as it was before, or not at all; and no name that was ever committed
// is missing. XENBACKUP_ROUNDS is the number of rounds.
func TestTortureSamba(t *testing.T) {
	t.Parallel()
	rounds := 3
	if v := os.Getenv("XENBACKUP_ROUNDS"); v != "" {
		var err error
		rounds, err = strconv.Atoi(v)
		require.NoError(t, err)
	}
	s := testenv.StartSamba(t)
	fsys := mount(t, s, "enc", patience)
	fsys.busy = 2 * time.Second
	kept := &ledger{least: map[string]uint32{}, most: map[string]uint32{}}
	var commits, failures atomic.Int64
	for round := range rounds {
		ctx, cancel := context.WithCancel(t.Context())
		var writers sync.WaitGroup
		for w := range 3 {
			writers.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					err := kept.write(ctx, fsys, fmt.Sprintf("w%d-%d", w, i%2)) // replaced again and again
					switch {
					case err == nil:
						commits.Add(1)
					case errors.Is(err, remote.ErrLost), errors.Is(err, remote.ErrUnavailable), errors.Is(err, fs.ErrPermission):
						failures.Add(1)
					case ctx.Err() == nil:
						t.Errorf("round %d: %v", round, err)
					}
				}
			})
		}
		wait(t, time.Duration(rand.IntN(150))*time.Millisecond)
		if round%3 == 2 {
			s.Freeze()
			wait(t, time.Duration(rand.IntN(50))*time.Millisecond)
			s.Resume()
		} else {
			s.Kill()
			s.Start()
		}
		before := commits.Load()
		require.Eventually(t, func() bool { return commits.Load() > before || t.Failed() }, patience, time.Millisecond, "round %d: nothing is written any more", round)
		cancel()
		writers.Wait()
		kept.check(t, fsys, s.Dir("enc"), fmt.Sprintf("round %d", round))
		require.False(t, t.Failed())
	}
	entries, err := fsys.ReadDir(t.Context(), ".")
	require.NoError(t, err)
	for _, e := range entries {
		if !remote.IsTemp(e.Name()) {
			continue
		}
		require.NoError(t, fsys.Remove(t.Context(), e.Name()))
	}
	onDisk, err := os.ReadDir(s.Dir("enc"))
	require.NoError(t, err)
	for _, e := range onDisk {
		require.NotContains(t, e.Name(), asideMark)
	}
	t.Logf("%d rounds, %d commits, %d that failed, nothing committed was wrong", rounds, commits.Load(), failures.Load())
}

// wait for chance, not for an event.
func wait(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

// ledger knows which generation of each file must be there at least, and may be at
// most.
type ledger struct {
	mu          sync.Mutex
	least, most map[string]uint32
}

func (l *ledger) write(ctx context.Context, fsys *FS, name string) error {
	l.mu.Lock()
	l.most[name]++
	generation := l.most[name]
	l.mu.Unlock()
	w, err := remote.Create(ctx, fsys, name)
	if err != nil {
		return err
	}
	for piece := range generationPieces(name, generation) {
		if _, err := w.Write(generationPiece(name, generation, piece)); err != nil {
			return errors.Join(err, w.Abort())
		}
	}
	if err := w.Commit(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.least[name] = generation
	return nil
}

func generationPieces(name string, generation uint32) int {
	return 1 + int(generation+uint32(name[1]))%4
}

// generationPiece begins with its generation, so that a file tells which it is.
func generationPiece(name string, generation uint32, piece int) []byte {
	p := make([]byte, 700_000)
	_, _ = rand.NewChaCha8([32]byte{name[1], name[3], byte(piece), byte(generation), byte(generation >> 8)}).Read(p)
	binary.BigEndian.PutUint32(p, generation)
	return p
}

func (l *ledger) check(t *testing.T, fsys *FS, dir, when string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, most := range l.most {
		got, err := remote.ReadFile(t.Context(), fsys, name, 4<<20)
		least := l.least[name]
		if errors.Is(err, fs.ErrNotExist) && least == 0 {
			continue
		}
		if err != nil {
			onDisk, _ := filepath.Glob(filepath.Join(dir, "*"))
			hidden, _ := filepath.Glob(filepath.Join(dir, ".*"))
			t.Fatalf("%s: %s, of which generation %d was committed: %v\n%q %q", when, name, least, err, onDisk, hidden)
		}
		require.GreaterOrEqual(t, len(got), 4, "%s: %s", when, name)
		generation := binary.BigEndian.Uint32(got)
		require.GreaterOrEqual(t, generation, least, "%s: %s", when, name)
		require.LessOrEqual(t, generation, most, "%s: %s", when, name)
		var want []byte
		for piece := range generationPieces(name, generation) {
			want = append(want, generationPiece(name, generation, piece)...)
		}
		require.True(t, bytes.Equal(got, want), "%s: %s is torn", when, name)
		l.least[name] = generation // what was seen stays
	}
}
