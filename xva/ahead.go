package xva

import (
	"context"
	"errors"
	"io"
	"iter"
)

// pending is a chunk that was read ahead.
type pending struct {
	piece piece
	buf   []byte
}

var (
	errAbandoned = errors.New("chunks read ahead were given up")
	errStop      = errors.New("no more wanted")
)

// Chunks yields what [Reader.Next] returns, from where the Reader stands to the end, faster: six chunks are read and verified ahead,
// on all processors. When it is over without an error, that is the proof of which Next tells; an error is the last pair. Chunks are
// valid until the next one.
//
// Its goroutines end with the loop, which waits for a read of the underlying reader that is under way. A loop that is left early leaves
// a Reader of which nothing more can be read.
func (r *Reader) Chunks(ctx context.Context) iter.Seq2[Chunk, error] {
	return func(yield func(Chunk, error) bool) {
		stopped := false
		err := r.eachChunk(ctx, func(c Chunk) error {
			if !yield(c, nil) {
				stopped = true
				return errStop
			}
			return nil
		})
		if err != nil && !stopped {
			yield(Chunk{}, err)
		}
	}
}

// eachChunk calls do with each chunk to the end, and stops at its error.
func (r *Reader) eachChunk(ctx context.Context, do func(Chunk) error) error {
	if r.err != nil {
		if errors.Is(r.err, io.EOF) {
			return nil
		}
		return r.err
	}
	ahead := relay[pending]{
		feed: func(p *pending) (err error) {
			if p.piece, err = r.readPiece(&p.buf); errors.Is(err, io.EOF) {
				return errFed
			}
			return err
		},
		work: func(p *pending) error { return p.piece.verify() },
		take: func(p *pending) error {
			if p.piece.used == 0 {
				return nil
			}
			return do(p.piece.chunk())
		},
	}
	err := ahead.run(ctx)
	if r.err = err; err == nil {
		r.err = io.EOF
	} else if _, ok := errors.AsType[*FormatError](err); !ok {
		r.err = r.fail(errAbandoned)
	}
	return err
}
