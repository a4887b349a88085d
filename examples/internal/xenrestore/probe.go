package xenrestore

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"

	"github.com/xenbackup/xenbackup/examples/internal/command"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/crypt"
)

// probed is what probe prints with -json.
type probed struct {
	*remote.Report
	Warnings   []string        `json:"warnings,omitempty"`
	Encryption crypt.Algorithm `json:"encryption,omitempty"`
}

// Probe measures a storage.
func Probe() command.Command {
	return command.Command{
		Name: "probe", Short: "try what backups need of a storage, and measure it", Usage: "-remote URL [-size MIB] [-json]",
		Long: `Writes, reads, replaces, lists, locks and removes files in a directory of its own, which
it removes, and reports speeds, capabilities, space, and how far the clock is off.

  xenrestore probe -remote smb://backup@nas/xo

The exit code is 1 when the storage is not fit for backups. With -json it is {"steps",
"writeBytesPerSecond","readBytesPerSecond","randomReadsPerSecond","commitSeconds",
"clockSkewSeconds","space","properties","capabilities","warnings","encryption"}.
`,
		Prepare: func(flags *flag.FlagSet) command.Run {
			at := declareLocation(flags)
			size := flags.Int64("size", 16, "`MiB` to write and read for the speeds")
			asJSON := flags.Bool("json", false, "print JSON")
			return func(ctx context.Context, std *command.Streams) (err error) {
				if *size < 1 || *size > 1<<20 {
					return command.UsageError("-size is 1 or more")
				}
				fsys, _, err := at.storage(ctx, std, false)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, fsys.Close()) }()
				report, unfit := remote.Probe(ctx, fsys, &remote.ProbeOptions{Size: *size << 20})
				algorithm, err := crypt.Detect(ctx, fsys)
				if err != nil {
					return errors.Join(unfit, err)
				}
				if *asJSON {
					return errors.Join(unfit, printJSON(std.Out, probed{Report: report, Warnings: report.Warnings(), Encryption: algorithm}))
				}
				fmt.Fprintf(std.Out, "%s\ncapabilities: %s\n", report, strings.Join(report.Capabilities, ", "))
				if algorithm != "" {
					fmt.Fprintf(std.Out, "encrypted at rest: %s\n", algorithm)
				}
				return unfit
			}
		},
	}
}
