// Simpool serves a simulated pool of XCP-ng hosts for other programs: give them
// the address and the password that it prints, and write to the disks' files as
// the guests would.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

const usage = `Usage: simpool [-listen HOST:PORT] [-tls] [-state DIR] -vm NAME=disk0.raw[,disk1.raw] ...

Serves a simulated pool with running VMs whose disks are copies of the raw files
given, and prints one line of JSON once it can be used:

  {"url","username","password","pool","hosts":[],
   "srs":[{"uuid","name_label"}],
   "vms":[{"uuid","name_label","disks":[{"vdi","path","size"}]}]}

pool, hosts and vdi are uuids, size is in bytes. path is the disk itself, a raw
file: write to it and the guest has written. With -tls the host has a certificate
that it has signed itself, as hosts do. It stops on SIGINT and SIGTERM ("go run"
does not pass them on when they are sent to it alone: build first), and then says
what a backup program should have cleaned up and has not.

With -state it can be started again and goes on where it stopped, as a pool does
that was rebooted: VMs, snapshots, disks, other_config, uuids and the certificate
are those from before, sessions and tasks are gone. The -vm arguments count the
first time alone. It is stored a second after each change, so that little is lost
when it is killed. One simpool at a time may use the folder.

  go build -o simpool ./examples/simpool
  truncate -s 64M root.raw
  ./simpool -listen 127.0.0.1:8080 -vm web=root.raw -vm idle

`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run serves until ctx ends and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var inventory xapitest.Inventory
	var options xapitest.Options
	flags := flag.NewFlagSet("simpool", flag.ContinueOnError)
	flags.SetOutput(stderr)
	options.Logger = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	flags.StringVar(&options.Listen, "listen", "127.0.0.1:0", "`address` to serve at; port 0 is a free one")
	flags.BoolVar(&options.TLS, "tls", false, "serve HTTPS alone")
	flags.StringVar(&options.Dir, "state", "", "`folder` for the pool and its disks, to go on from; a new pool needs it empty or not there (default: a temporary one, removed)")
	flags.Func("vm", "a VM with its `NAME=disk0.raw[,disk1.raw]`; NAME alone has no disk; may be given many times", func(arg string) error {
		vm, err := parseVM(arg)
		inventory.VMs = append(inventory.VMs, vm)
		return err
	})
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
		fmt.Fprint(flags.Output(), "\nExit codes: 0 stopped by a signal, 2 the arguments are wrong, 3 something failed.\n")
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2 // the message and the usage have been printed
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "simpool: what is %q? simpool -h tells the arguments\n", flags.Arg(0))
		return 2
	}
	if err := serve(ctx, inventory, &options, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "simpool:", err)
		return 3
	}
	return 0
}

// parseVM reads NAME=disk0.raw,disk1.raw. The first disk is the one to boot from.
func parseVM(arg string) (xapitest.VM, error) {
	name, files, _ := strings.Cut(arg, "=")
	if name == "" {
		return xapitest.VM{}, errors.New("a VM needs a name: NAME=disk0.raw")
	}
	vm := xapitest.VM{Name: name, PowerState: "Running", VIFs: []xapitest.VIF{{}}}
	for path := range strings.SplitSeq(files, ",") {
		if path == "" {
			continue
		}
		vm.Disks = append(vm.Disks, xapitest.Disk{
			Name: fmt.Sprintf("%s disk %d", name, len(vm.Disks)), Content: path, Bootable: len(vm.Disks) == 0,
		})
	}
	return vm, nil
}

func serve(ctx context.Context, inventory xapitest.Inventory, options *xapitest.Options, stdout, stderr io.Writer) (err error) {
	if options.Keep = options.Dir != ""; options.Keep {
		if err := prepareFolder(options.Dir); err != nil {
			return err
		}
	}
	pool, err := xapitest.Start(inventory, options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	if err := json.NewEncoder(stdout).Encode(describe(pool)); err != nil {
		return err
	}
	<-ctx.Done()
	for _, leak := range pool.Leaks() {
		fmt.Fprintln(stderr, "simpool: left behind:", leak)
	}
	pool.Expect("") // it is told, and no failure of this program
	return nil
}

// prepareFolder makes the folder, and refuses one with something in it that is
// no pool.
func prepareFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		return err
	}
	for _, name := range []string{xapitest.StateFile, xapitest.LockFile} { // the latter alone: killed while it was made
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%s is neither empty nor a pool: name another folder with -state", dir)
}
