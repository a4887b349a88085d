package xapitest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// StateFile is the file in Options.Dir where a pool with Options.Keep stores what
// is not in the disks. It holds keys and the contents of TPMs.
const StateFile = "pool.json"

// keepPause is how long changes gather before they are stored, as a host does it;
// a store that takes long makes it longer.
const keepPause = time.Second

// kept is a pool as it is stored.
type kept struct {
	Version      int                   `json:"version"`
	Objects      map[string][]keptRow  `json:"objects"`  // by class, oldest first
	TPMs         map[string]string     `json:"tpms"`     // contents by reference
	Tracking     map[string]*cbtLog    `json:"tracking"` // by uuid of the disk
	Empty        []string              `json:"empty"`    // uuids of disks without a file
	Certificates map[string]keptSecret `json:"certificates"`
	Expected     []string              `json:"expected"` // leaks
}

const keptVersion = 1

type keptRow struct {
	Ref    string `json:"ref"`
	Record record `json:"record"`
}

// keptSecret is the certificate of a host with its key, as PEM.
type keptSecret struct {
	Certificate []byte `json:"certificate"`
	Key         []byte `json:"key"`
}

// recall reads what an earlier pool has left in the directory; nil when there
// was none.
func recall(dir string) (*kept, error) {
	text, err := os.ReadFile(filepath.Join(dir, StateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // a new pool
	}
	if err != nil {
		return nil, fmt.Errorf("xapitest: %w", err)
	}
	k := new(kept)
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(k); err != nil {
		return nil, fmt.Errorf("xapitest: %s: %w", StateFile, err)
	}
	if k.Version != keptVersion {
		return nil, fmt.Errorf("xapitest: %s is of version %d, not %d", StateFile, k.Version, keptVersion)
	}
	return k, k.decode()
}

// decode gives the fields the types of the database, and those that an older
// pool did not know their defaults.
func (k *kept) decode() error {
	for name, rows := range k.Objects {
		c, ok := schema()[name]
		if !ok {
			return fmt.Errorf("xapitest: %s: no class %s", StateFile, name)
		}
		for i, row := range rows {
			values := make(record, len(row.Record))
			for field, plain := range row.Record {
				f, ok := c.byName[field]
				if !ok {
					return fmt.Errorf("xapitest: %s: %s has no field %s", StateFile, name, field)
				}
				if values[field], ok = coerce(f.kind, plain); !ok {
					return fmt.Errorf("xapitest: %s: %s.%s is of another type", StateFile, name, field)
				}
			}
			rows[i].Record = newRecord(c, values)
		}
	}
	if len(k.Objects["pool"]) != 1 || len(k.Objects["host"]) == 0 {
		return fmt.Errorf("xapitest: %s describes no pool", StateFile)
	}
	return nil
}

// hosts describes the hosts of the pool as an inventory would.
func (k *kept) hosts() (hosts []Host) {
	for _, row := range k.Objects["host"] {
		hosts = append(hosts, Host{Name: row.Record.str("name_label"), Address: row.Record.str("address")})
	}
	return hosts
}

// certificate returns that of the ith host, or nil.
func (k *kept) certificate(i int) (*tls.Certificate, error) {
	secret, ok := k.Certificates[k.Objects["host"][i].Ref]
	if !ok {
		return nil, nil //nolint:nilnil // it had no TLS
	}
	pair, err := tls.X509KeyPair(secret.Certificate, secret.Key)
	if err != nil {
		return nil, fmt.Errorf("xapitest: %s: %w", StateFile, err)
	}
	return &pair, nil
}

// resume fills the database as a pool does that starts: what tasks were at is
// over, and the control domain has no disks. Virtual machines have run on.
func (p *Pool) resume(k *kept) {
	for _, row := range k.Objects["host"] {
		p.hosts = append(p.hosts, row.Ref)
	}
	pool := k.Objects["pool"][0]
	master := pool.Record.str("master")
	p.poolRef = pool.Ref
	p.master.Store(&master)
	p.vtpms, p.expected = k.TPMs, k.Expected
	if p.vtpms == nil {
		p.vtpms = make(map[string]string)
	}
	for _, row := range k.Objects["VDI"] {
		vdi := row.Record
		p.disks.restore(vdi.str("uuid"), vdi.int("virtual_size"), vdi.bool("is_a_snapshot"), slices.Contains(k.Empty, vdi.str("uuid")))
	}
	for uuid, l := range k.Tracking {
		p.disks.setLog(uuid, l)
	}
	_ = p.db.update(func(tx tx) error {
		for class, rows := range k.Objects {
			for _, row := range rows {
				tx.put(class, row.Ref, row.Record)
			}
		}
		tx.comeToRest()
		return nil
	})
}

// comeToRest ends all that was under way when the pool stopped.
func (t tx) comeToRest() {
	for _, class := range []string{"VM", "VDI"} {
		for _, row := range t.inOrder(class) {
			if len(row.record.dict("current_operations")) > 0 {
				_ = t.set(class, row.ref, record{"current_operations": map[string]string{}}) // it exists
			}
		}
	}
	for _, row := range t.inOrder("VBD") {
		if vm, err := t.record("VM", row.record.str("VM")); err == nil && vm.bool("is_control_domain") {
			_ = t.destroy("VBD", row.ref) // it exists
		}
	}
}

// state describes the pool as it is now.
func (p *Pool) state() (*kept, error) {
	k := &kept{
		Version: keptVersion, Objects: make(map[string][]keptRow), TPMs: make(map[string]string),
		Certificates: make(map[string]keptSecret),
	}
	_ = p.db.update(func(tx tx) error { // only reads
		for class := range schema() {
			if !dumped(class) {
				continue
			}
			for _, row := range tx.inOrder(class) {
				rec, _ := withoutNonFinite(row.record, func(x float64) any { return floatName(x) }).(record)
				k.Objects[class] = append(k.Objects[class], keptRow{row.ref, rec})
			}
		}
		return nil
	})
	p.mu.Lock()
	for _, row := range k.Objects["VTPM"] {
		k.TPMs[row.Ref] = p.vtpms[row.Ref]
	}
	k.Expected = without(p.expected, "") // that one is for this pool's end
	p.mu.Unlock()
	k.Tracking, k.Empty = p.disks.keep()
	if p.options.Certificate != nil || !p.options.TLS {
		return k, nil
	}
	for i, host := range p.hosts {
		key, err := x509.MarshalPKCS8PrivateKey(p.doors[i].key)
		if err != nil {
			return nil, err
		}
		k.Certificates[host] = keptSecret{
			Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.doors[i].certificate.Raw}),
			Key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		}
	}
	return k, nil
}

// store writes the state: after a crash the file is the old one or the new one.
// Files of disks that are gone are removed only then, so that a pool that goes on
// from the old one finds all that it knows of.
func (p *Pool) store() error {
	gone := p.disks.retired()
	if err := p.writeState(); err != nil {
		p.disks.retire(gone)
		return err
	}
	var errs []error
	for _, c := range gone {
		errs = append(errs, c.remove())
	}
	return errors.Join(errs...)
}

func (p *Pool) writeState() error {
	k, err := p.state()
	if err != nil {
		return fmt.Errorf("xapitest: %w", err)
	}
	text, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("xapitest: %w", err)
	}
	name := filepath.Join(p.disks.dir, StateFile)
	f, err := os.OpenFile(name+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("xapitest: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("xapitest: %w", err)
	}
	return os.Rename(name+".new", name)
}

// keepStored stores the pool whenever it has changed, until ctx ends.
func (p *Pool) keepStored(ctx context.Context) {
	var failed error
	for pause := keepPause; ; {
		p.db.mu.Lock()
		changed := p.db.changed
		p.db.mu.Unlock()
		if failed == nil {
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
		if wait(ctx, pause) != nil {
			return
		}
		start := time.Now()
		err := p.store()
		if err != nil && failed == nil {
			p.log.ErrorContext(ctx, "pool not stored, trying again", slog.Any("error", err))
		}
		failed = err
		pause = max(keepPause, 20*time.Since(start))
	}
}
