// Xenrestore looks into backup repositories, of this library or of Xen Orchestra, and
// restores from them: whole VMs to a pool, disks to files, points to archives, and single
// files and directories. It begins repositories, and verifies, cleans and prunes them.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/xenbackup/xenbackup/examples/internal/command"
	"github.com/xenbackup/xenbackup/examples/internal/xenrestore"
)

const intro = `Usage: xenrestore COMMAND -remote URL ...

Looks into backup repositories, of this library or of Xen Orchestra, and restores from
them. Restoring needs no Xen Orchestra, no database and no mount: a repository is enough.

  xenrestore list   -remote nfs://nas/export/xo
  xenrestore vm     -remote nfs://nas/export/xo -backup ID -pool https://host -sr UUID
  xenrestore disk   -remote nfs://nas/export/xo -backup ID -disk UUID -o web.raw
  xenrestore files get -remote nfs://nas/export/xo -backup ID -o etc.tar.zst /etc
`

const outro = `Secrets are never given on the command line, and never printed:
  XENBACKUP_PASSWORD         of the pool; or XENBACKUP_PASSWORD_FILE, or -password-file
  XENBACKUP_REMOTE_KEY       of an encrypted repository; or XENBACKUP_REMOTE_KEY_FILE, or -key-file
  XENBACKUP_REMOTE_PASSWORD  of a share, with XENBACKUP_REMOTE_USERNAME and XENBACKUP_REMOTE_DOMAIN
XENBACKUP_REMOTE is the repository when there is no -remote. Results go to standard
output; messages, and on a terminal the progress, to standard error.
`

func program() *command.Program {
	return &command.Program{
		Name: "xenrestore", Intro: intro, Outro: outro, Advise: xenrestore.Advise,
		Commands: []command.Command{
			xenrestore.List(), xenrestore.Show(), xenrestore.Verify(),
			xenrestore.VM(), xenrestore.Disk(), xenrestore.XVA(),
			xenrestore.FilesLs(), xenrestore.FilesFind(), xenrestore.FilesGet(),
			xenrestore.Init(), xenrestore.Probe(),
			xenrestore.Delete(), xenrestore.Clean(), xenrestore.Retention(),
		},
	}
}

func main() {
	signal.Ignore(syscall.SIGPIPE) // a write to a closed pipe is an error, after which leases and files are given back
	ctx, stop := signal.NotifyContext(context.Background(), command.Interrupts()...)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr, command.IsTerminal(os.Stderr))
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer, terminal bool) int {
	return program().Run(ctx, args, &command.Streams{Out: stdout, Err: stderr, Terminal: terminal})
}
