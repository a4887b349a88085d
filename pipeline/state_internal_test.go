package pipeline

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Another process that got the directory would undo what is under way.
func TestStateIsNotGivenBackAmidARun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	state, err := DirState(dir)
	require.NoError(t, err)
	over := state.begin("run", "job")
	require.ErrorIs(t, state.Close(), errStateBusy)
	_, err = DirState(dir)
	require.ErrorIs(t, err, ErrStateInUse)
	_, err = state.journal.begin(intent{Kind: intentVM, Run: "run"})
	require.NoError(t, err, "it goes on")
	over()
	claimed := state.journal.claim(func(intent, bool) bool { return true })
	require.ErrorIs(t, state.Close(), errStateBusy)
	state.journal.giveBack(claimed)
	require.NoError(t, state.Close())
	require.NoError(t, state.Close())
	_, err = state.journal.begin(intent{Kind: intentVM})
	require.ErrorIs(t, err, errStateClosed)
}

// What is written to a file that nobody finds is not kept.
func TestJournalThatWasRemovedTakesNoIntents(t *testing.T) {
	t.Parallel()
	for name, replaced := range map[string]bool{"removed": false, "replaced": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "state")
			state, err := DirState(dir)
			require.NoError(t, err)
			n, err := state.journal.begin(intent{Kind: intentVM})
			require.NoError(t, err)
			require.NoError(t, os.Rename(dir, dir+".old"))
			if replaced {
				other, err := DirState(dir)
				require.NoError(t, err)
				require.NoError(t, other.Close())
			}
			_, err = state.journal.begin(intent{Kind: intentVM})
			require.ErrorIs(t, err, errJournalGone)
			require.ErrorIs(t, n.update(func(in *intent) { in.Committing = true }), errJournalGone)
			n.done()
			require.NoError(t, state.Close())
		})
	}
}

// Without room for a new file what the old one says is still undone, and more is not
// written over what was torn off.
func TestJournalIsReadWithoutRoomForANewOne(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "intents.jsonl")
	j, err := openJournal(path)
	require.NoError(t, err)
	_, err = j.begin(intent{Kind: intentHalted, Run: "killed"})
	require.NoError(t, err)
	_, err = j.file.WriteAt([]byte(`{"intent":{"id":2,"kind":"halt`), j.size)
	require.NoError(t, err)
	require.NoError(t, j.close())
	require.NoError(t, os.Mkdir(path+".tmp", 0o700)) // stands for the full disk
	require.NoError(t, os.WriteFile(filepath.Join(path+".tmp", "x"), nil, 0o600))
	for want := 1; want < 3; want++ {
		j, err = openJournal(path)
		require.NoError(t, err)
		require.Len(t, j.kept(), want)
		_, err = j.begin(intent{Kind: intentVM})
		require.NoError(t, err)
		require.NoError(t, j.close())
	}
}
