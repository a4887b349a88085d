package xenrestore

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/xenbackup/xenbackup/examples/internal/command"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/crypt"
)

// begun is what init prints with -json.
type begun struct {
	Identity  string          `json:"identity"`            // the word in .xenbackup/id
	Algorithm crypt.Algorithm `json:"algorithm,omitempty"` // "": not encrypted
}

// Init begins a repository.
func Init() command.Command {
	return command.Command{
		Name: "init", Short: "begin a repository, encrypted or not", Usage: "-remote URL [-encrypt [-new-key FILE]] [-json]",
		Long: `Begins a repository: makes its directory, and gives it an identity, by which later
an empty mount point is told from it. Repeated, it changes nothing.

  xenrestore init -remote file:///srv/backups
  xenrestore init -remote file:///srv/secret -encrypt -new-key /root/secret.key

With -encrypt everything is encrypted at rest, as Xen Orchestra does it; that needs an
empty repository. The key is 32 characters; -new-key makes one up and stores it first.
Keep a copy of it elsewhere: without it all is lost, and it cannot be changed.

With -json it is {"identity","algorithm"}.
`,
		Prepare: func(flags *flag.FlagSet) command.Run {
			at := declareLocation(flags)
			encrypt := flags.Bool("encrypt", false, "encrypt the repository with the key")
			newKey := flags.String("new-key", "", "`file` for a new key; it must not be there")
			asJSON := flags.Bool("json", false, "print JSON")
			return func(ctx context.Context, std *command.Streams) (err error) {
				if *newKey != "" {
					if !*encrypt || at.keyFile != "" {
						return command.UsageError("-new-key goes with -encrypt, and without -key-file")
					}
					if err := writeKey(*newKey); err != nil {
						return err
					}
					at.keyFile = *newKey
				}
				fsys, key, err := at.storage(ctx, std, true)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, fsys.Close()) }()
				report, err := begin(ctx, fsys, key, *encrypt)
				if err != nil {
					return err
				}
				if *asJSON {
					return printJSON(std.Out, report)
				}
				fmt.Fprintf(std.Out, "The repository has the identity %s.\n", report.Identity)
				if report.Algorithm != "" {
					fmt.Fprintf(std.Out, "It is encrypted with %s. Keep a copy of the key elsewhere.\n", report.Algorithm)
				}
				return nil
			}
		},
	}
}

func begin(ctx context.Context, fsys remote.Filesystem, key remote.Secret, encrypt bool) (*begun, error) {
	report := &begun{}
	switch algorithm, err := crypt.Detect(ctx, fsys); {
	case err != nil:
		return nil, err
	case encrypt && key == "":
		return nil, command.UsageError("-encrypt needs a key: put it into $" + envKey + ", name its file with -key-file, or make one with -new-key FILE")
	case encrypt:
		sealed, err := crypt.Init(ctx, fsys, key, nil)
		if err != nil {
			return nil, err
		}
		report.Algorithm = sealed.Algorithm()
	case algorithm != "":
		return nil, command.UsageError("the repository is encrypted already; -encrypt proves the key")
	case key != "":
		return nil, command.UsageError("a key is given: add -encrypt, or take the key away")
	}
	var err error
	report.Identity, err = remote.Identify(ctx, fsys)
	return report, err
}

// writeKey stores a new key of 192 random bits.
func writeKey(name string) error {
	var random [24]byte
	_, _ = rand.Read(random[:]) // never fails
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(base64.RawURLEncoding.EncodeToString(random[:]) + "\n")
	return errors.Join(err, f.Sync(), f.Close())
}
