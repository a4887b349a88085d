package pipeline

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// deafPool is a pool that never answers.
type deafPool struct{ Pool }

var errDeaf = errors.New("no answer")

func (deafPool) Call(context.Context, string, any, ...any) error      { return errDeaf }
func (deafPool) CallAsync(context.Context, string, any, ...any) error { return errDeaf }

// The intents of a pool or a repository that is gone for good have an end, while a guest
// that is down and a block of migration wait for their pool.
func TestRecoverGivesUpWhatCannotBeUndoneForLong(t *testing.T) {
	t.Parallel()
	state, err := DirState(t.TempDir())
	require.NoError(t, err)
	for _, age := range []time.Duration{time.Hour, patience + time.Hour} {
		for _, pool := range []string{"lab", "removed"} {
			for _, kind := range []intentKind{intentVM, intentMigration, intentSnapshot, intentHalted} {
				_, err := state.journal.begin(intent{Kind: kind, Time: time.Now().Add(-age), Run: "killed", Pool: pool, VM: "the-vm"})
				require.NoError(t, err)
			}
		}
	}
	var log bytes.Buffer
	runner, err := NewRunner(&RunnerOptions{
		Pools: map[string]Pool{"lab": deafPool{}}, State: state, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	require.NoError(t, err)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, runner.Recover(cancelled))
	require.Len(t, state.journal.kept(), 16, "it was not tried")
	require.ErrorContains(t, runner.Recover(t.Context()), "the runner does not know the pool")
	var old []string
	for _, in := range state.journal.kept()[8:] {
		old = append(old, in.Pool+" "+string(in.Kind))
	}
	require.Equal(t, []string{"lab migration", "lab halted"}, old)
	require.Contains(t, log.String(), "the-vm")
	require.NoError(t, state.Close())
}
