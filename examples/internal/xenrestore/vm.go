package xenrestore

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/xenbackup/xenbackup/examples/internal/command"
	"github.com/xenbackup/xenbackup/examples/internal/secrets"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/restore"
	"github.com/xenbackup/xenbackup/xapi"
)

const envPassword = "XENBACKUP_PASSWORD"

// restored is what vm prints with -json.
type restored struct {
	Backup string            `json:"backup"`
	VM     string            `json:"vm"`
	Disks  map[string]string `json:"disks"` // new VDIs by those of the snapshot
}

// VM restores a VM.
func VM() command.Command {
	return command.Command{
		Name: "vm", Short: "restore a VM to a pool", Usage: "-remote URL -backup ID -pool URL [-sr UUID] [-map VDI=SR]... [-new-macs] [-start] [-json]",
		Long: `Makes a new VM of a restore point; the original is not touched. What fails, or is
interrupted, leaves nothing in the pool.

  export XENBACKUP_PASSWORD_FILE=/etc/xenbackup/pool.secret
  xenrestore vm -remote nfs://nas/export/xo -backup ID -pool https://pool-master -sr UUID
  xenrestore vm … -map 8f1c…=0d22… -map 93ab…=     one disk to another SR, one left out

The password is that of $` + envPassword + `, or in the file $` + envPassword + `_FILE or -password-file. A host that
has signed its certificate itself is trusted with -fingerprint; without it the message
shows the fingerprint, to be compared with the host's console.

With -json it is {"backup","vm","disks":{"<snapshot VDI>":"<new VDI>"}}.
`,
		Prepare: func(flags *flag.FlagSet) command.Run {
			at, id, pool := declareLocation(flags), declareBackup(flags), declarePool(flags)
			opts := &restore.Options{MapSRs: map[string]string{}}
			uuidVar(flags, &opts.SR, "sr", "`UUID` of the SR for the disks (default: the pool's default)")
			flags.Func("map", "`VDI=SR`: the SR for one disk; VDI= leaves it out; may be given many times", func(arg string) error {
				vdi, sr, ok := strings.Cut(arg, "=")
				if !ok || vdi == "" {
					return errors.New("VDI=SR is needed")
				}
				opts.MapSRs[canonical(vdi)] = canonical(sr)
				return nil
			})
			flags.StringVar(&opts.Name, "name", "", "`name` of the VM (default: the one it had, with the date)")
			flags.BoolVar(&opts.NewMACs, "new-macs", false, "new MAC addresses")
			flags.BoolVar(&opts.DiskByDisk, "disk-by-disk", false, "of a full backup: make the VM here instead of letting the pool import the archive")
			flags.BoolVar(&opts.Start, "start", false, "start the VM")
			asJSON := flags.Bool("json", false, "print JSON")
			return func(ctx context.Context, std *command.Streams) (err error) {
				if *id == "" {
					return errNoBackup
				}
				client, err := pool.dial(ctx)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, client.Close()) }()
				repo, err := at.open(ctx, std)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, repo.Close()) }()
				p, err := repo.find(ctx, *id)
				if err != nil {
					return err
				}
				opts.Logger = at.logger(std)
				return repo.restore(ctx, client, p, opts, *asJSON, std)
			}
		},
	}
}

func (r *repository) restore(ctx context.Context, client *xapi.Client, p *catalog.Point, opts *restore.Options, asJSON bool, std *command.Streams) error {
	moved := watch(std)
	defer moved.Clear()
	opts.Progress = watchDisks(moved, r.Disks(p)).move
	result, err := restore.VM(ctx, client, r.Catalog, p, opts)
	moved.Clear()
	if result == nil {
		return err
	}
	report := restored{Backup: p.ID, VM: result.VM, Disks: result.Disks} // with an error: it is there, and does not start
	if asJSON {
		return errors.Join(err, printJSON(std.Out, report))
	}
	fmt.Fprintf(std.Out, "VM %s\n", report.VM)
	for _, vdi := range slices.Sorted(maps.Keys(report.Disks)) {
		fmt.Fprintf(std.Out, "  disk %s is now %s\n", vdi, report.Disks[vdi])
	}
	return err
}

// poolFlags say which pool, and how it proves itself.
type poolFlags struct {
	url, user, passwordFile, fingerprint, ca string
	insecure                                 bool
}

func declarePool(flags *flag.FlagSet) *poolFlags {
	p := &poolFlags{}
	flags.StringVar(&p.url, "pool", "", "`URL` of the pool's master: https://host")
	flags.StringVar(&p.user, "user", "root", "`name` to log in with")
	flags.StringVar(&p.passwordFile, "password-file", "", "`file` with the password (default: $"+envPassword+", or the file $"+envPassword+"_FILE)")
	flags.StringVar(&p.fingerprint, "fingerprint", "", "`SHA-256` of the certificate, or of the key, that the host must show")
	flags.StringVar(&p.ca, "ca", "", "`file` with certificates, in PEM form, of authorities to trust besides the system's")
	flags.BoolVar(&p.insecure, "insecure", false, "accept any certificate: whoever stands between reads the password")
	return p
}

// untrusted is a certificate that was refused, with the one that the host shows.
type untrusted struct {
	host  string
	shown *xapi.HostCertificate
	err   error
}

func (e *untrusted) Error() string { return e.err.Error() }
func (e *untrusted) Unwrap() error { return e.err }

func (p *poolFlags) dial(ctx context.Context) (*xapi.Client, error) {
	if p.url == "" {
		return nil, command.UsageError("-pool is needed: the URL of the pool's master, such as https://host")
	}
	password, err := secrets.Find(p.passwordFile, envPassword)
	if err != nil {
		return nil, fmt.Errorf("password of the pool: %w", err)
	}
	if password == "" {
		return nil, command.UsageError("the pool's password is needed: put it into $" + envPassword + ", or name its file with -password-file")
	}
	opts := &xapi.Options{Username: p.user, Password: xapi.Secret(password), InsecureTLS: p.insecure, Originator: "xenrestore"}
	if p.fingerprint != "" {
		f, err := xapi.ParseFingerprint(p.fingerprint)
		if err != nil {
			return nil, command.UsageError(err.Error())
		}
		opts.Pins = map[string][]xapi.Fingerprint{p.host(): {f}}
	}
	if p.ca != "" {
		if opts.ExtraCAs, err = os.ReadFile(p.ca); err != nil {
			return nil, err
		}
	}
	client, err := xapi.Dial(ctx, p.url, opts)
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		if shown, fetchErr := xapi.FetchFingerprint(ctx, p.url, nil); fetchErr == nil {
			return nil, &untrusted{host: p.host(), shown: shown, err: err}
		}
	}
	return client, err
}

// host is the name in the URL.
func (p *poolFlags) host() string {
	address := p.url
	if !strings.Contains(address, "://") {
		address = "https://" + address
	}
	u, err := url.Parse(address)
	if err != nil {
		return "" // Dial says what is wrong with it
	}
	return u.Hostname()
}
