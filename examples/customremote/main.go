// Customremote is a back end of one's own: dirfs.go, less than 100 lines of code,
// with the test of 20 lines that runs the suite of package remotetest on it. This
// program adds it to the schemes that are known already, and probes a storage:
//
//	go run ./examples/customremote dir:///srv/backups
//	go run ./examples/customremote -json nfs://nas/export/backups
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/all"
)

const usage = `Usage: customremote [-json] URL

Probes a storage: what it can do and how fast it is, with files that are removed again.
The URL is dir:///folder (the back end of this example), file:///folder,
nfs://host/export/folder or smb://user@host/share/folder; the password of a share comes
from XENBACKUP_REMOTE_PASSWORD.

`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, args []string) error {
	flags := flag.NewFlagSet("customremote", flag.ContinueOnError)
	asJSON := flags.Bool("json", false, "print the report as JSON")
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("which storage? Give one URL; -h shows examples")
	}
	opener := all.Opener()
	opener.Schemes["dir"] = openDir
	fsys, err := opener.Open(ctx, flags.Arg(0), nil)
	if err != nil {
		return err
	}
	defer fsys.Close()

	report, err := remote.Probe(ctx, fsys, nil)
	if *asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		_ = encoder.Encode(report)
	} else {
		fmt.Fprint(out, report)
	}
	return err
}

// openDir is the remote.OpenFunc of dir:///path.
func openDir(_ context.Context, u *url.URL, _ *remote.Options) (remote.Filesystem, error) {
	root, err := os.OpenRoot(u.Path)
	if err != nil {
		return nil, &remote.UnreachableError{Part: remote.PartFolder, Name: u.Path, Err: err}
	}
	return dirFS{root}, nil
}
