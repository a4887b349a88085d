package remote

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"
)

// Logging is fsys, with every operation told to logger at debug level once it has
// ended: what, on which name, how many bytes, how long it took, and its error.
// Names may tell of backups, but no content and no credential is logged.
func Logging(fsys Filesystem, logger *slog.Logger) Filesystem {
	return &around{below: fsys, do: func(ctx context.Context, o operation, run func() error) error {
		if !logger.Enabled(ctx, slog.LevelDebug) {
			return run()
		}
		start := time.Now()
		err := run()
		attrs := []slog.Attr{slog.String("op", o.kind), slog.String("name", o.name)}
		if o.to != "" {
			attrs = append(attrs, slog.String("to", o.to))
		}
		if o.size > 0 {
			attrs = append(attrs, slog.Int("bytes", o.size))
		}
		attrs = append(attrs, slog.Duration("took", time.Since(start)))
		if err != nil && !errors.Is(err, io.EOF) {
			attrs = append(attrs, slog.Any("err", err))
		}
		logger.LogAttrs(ctx, slog.LevelDebug, "storage operation", attrs...)
		return err
	}}
}
