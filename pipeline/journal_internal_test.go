package pipeline

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

// kept returns what is in the journal, by id.
func (j *journal) kept() []intent {
	var kept []intent
	for _, id := range slices.Sorted(maps.Keys(j.intents)) {
		kept = append(kept, j.intents[id])
	}
	return kept
}

func TestJournalKeepsWhatIsNotDone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "intents.jsonl")
	j, err := openJournal(path)
	require.NoError(t, err)
	first, err := j.begin(intent{Kind: intentMigration, Run: "run", VM: "vm", Before: map[string]string{"pool_migrate": "by \"us\"\n"}})
	require.NoError(t, err)
	second, err := j.begin(intent{Kind: intentSnapshot, Run: "run"})
	require.NoError(t, err)
	third, err := j.begin(intent{Kind: intentVM, Run: "run"})
	require.NoError(t, err)
	require.NoError(t, second.update(func(in *intent) { in.Ref, in.Disks = "OpaqueRef:1", []string{"OpaqueRef:2"} }))
	third.done()
	third.done()
	want := []intent{first.intent, second.intent}
	require.Empty(t, cmp.Diff(want, j.kept()))

	killed, err := openJournal(path) // j is not closed
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(want, killed.kept()))
	next, err := killed.begin(intent{Kind: intentVM})
	require.NoError(t, err)
	require.Greater(t, next.intent.ID, second.intent.ID)
	require.NoError(t, killed.close())
	require.NoError(t, j.close())
}

// Wherever the last line was torn off, what was there before it is read, and what is
// written next as well.
func TestJournalSurvivesACutAtAnyByte(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "intents.jsonl")
	j, err := openJournal(path)
	require.NoError(t, err)
	_, err = j.begin(intent{Kind: intentRun, Run: "first"})
	require.NoError(t, err)
	whole := int(j.size)
	_, err = j.begin(intent{Kind: intentRun, Run: "second"})
	require.NoError(t, err)
	require.NoError(t, j.close())
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	for cut := range len(text) + 1 {
		require.NoError(t, os.WriteFile(path, text[:cut], 0o600))
		j, err := openJournal(path)
		require.NoError(t, err, cut)
		require.GreaterOrEqual(t, len(j.kept()), min(cut/whole, 1), cut)
		_, err = j.begin(intent{Kind: intentRun, Run: "third"})
		require.NoError(t, err)
		before := j.kept()
		require.NoError(t, j.close())
		j, err = openJournal(path)
		require.NoError(t, err, cut)
		require.Empty(t, cmp.Diff(before, j.kept()), cut)
		require.NoError(t, j.close())
	}
	damaged := append([]byte("{\n"), text...)
	require.NoError(t, os.WriteFile(path, damaged, 0o600))
	_, err = openJournal(path)
	require.ErrorContains(t, err, "line 1", "what was intended must not be forgotten")
}

func TestJournalStaysSmall(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "intents.jsonl")
	j, err := openJournal(path)
	require.NoError(t, err)
	stays, err := j.begin(intent{Kind: intentVM, Run: "stays"})
	require.NoError(t, err)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range compactAt / 5 {
				n, err := j.begin(intent{Kind: intentVM, Run: "goes"})
				if err == nil {
					n.done()
				}
			}
		})
	}
	group.Wait()
	require.Less(t, j.lines, compactAt+2, "of 1600")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(200*compactAt))
	require.Empty(t, cmp.Diff([]intent{stays.intent}, j.kept()))
	require.NoError(t, j.close())
	j, err = openJournal(path)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff([]intent{stays.intent}, j.kept()))
	require.NoError(t, j.close())
}

// A journal that cannot be written takes no intents, so that nothing is begun that nobody
// would undo.
func TestJournalThatCannotBeWrittenTellsSo(t *testing.T) {
	t.Parallel()
	j, err := openJournal(filepath.Join(t.TempDir(), "intents.jsonl"))
	require.NoError(t, err)
	n, err := j.begin(intent{Kind: intentVM})
	require.NoError(t, err)
	require.NoError(t, j.file.Close())
	_, err = j.begin(intent{Kind: intentVM})
	require.ErrorIs(t, err, os.ErrClosed)
	require.Error(t, n.update(func(in *intent) { in.Committing = true }))
	require.Empty(t, cmp.Diff([]intent{n.intent}, j.kept()))
	j.file = nil
	_, err = j.begin(intent{Kind: intentVM})
	require.ErrorIs(t, err, errJournalLost)
}

func TestIntentsOfLiveRunsAreNotClaimed(t *testing.T) {
	t.Parallel()
	j := newJournal()
	_, err := j.begin(intent{Kind: intentVM, Run: "live"})
	require.NoError(t, err)
	dead, err := j.begin(intent{Kind: intentVM, Run: "dead"})
	require.NoError(t, err)
	j.begun("live")
	untried := func(_ intent, tried bool) bool { return !tried }
	claimed := j.claim(untried)
	require.Empty(t, cmp.Diff([]intent{dead.intent}, claimed))
	all := func(intent, bool) bool { return true }
	require.Empty(t, j.claim(all), "somebody is undoing it")
	j.giveBack(claimed)
	require.Empty(t, j.claim(untried))
	require.Len(t, j.claim(all), 1)
	j.ended("live")
	require.Len(t, j.claim(untried), 1)
}
