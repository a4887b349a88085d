package nfs

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestASyncIsNeverLeftOutAfterTwoAtTheSameTime(t *testing.T) {
	bubble(t, func(t stage, s *script, f *FS) {
		file, err := f.OpenFile(t.Context(), "x", os.O_RDWR)
		require.NoError(t, err)
		honest := newScript().answers[[2]uint32{programNFS, procCommit}]
		s.set(procCommit, func(args *decoder, e *encoder) fate {
			time.Sleep(time.Second) //nolint:forbidigo // of the bubble's time: until both have begun
			return honest(args, e)
		})
		for commits := range 2 {
			_, err = file.WriteAt(make([]byte, 10), 0)
			require.NoError(t, err)
			errs := make(chan error)
			for range 2 {
				go func() { errs <- file.Sync() }()
			}
			require.NoError(t, errors.Join(<-errs, <-errs))
			require.Equal(t, 2*commits+2, s.count(procCommit))
		}
	})
}

func TestOffsetsThatNoFileHasAreInvalid(t *testing.T) {
	bubble(t, func(t stage, s *script, f *FS) {
		file, err := f.OpenFile(t.Context(), "x", os.O_RDWR)
		require.NoError(t, err)
		for _, off := range []int64{-1, math.MaxInt64 - 1} {
			_, err = file.ReadAt(make([]byte, 10), off)
			require.ErrorIs(t, err, fs.ErrInvalid)
			_, err = file.WriteAt(make([]byte, 10), off)
			require.ErrorIs(t, err, fs.ErrInvalid)
		}
	})
}
