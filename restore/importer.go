package restore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xapi"
)

// Importer makes VMs in a pool of records and the contents of disks, wherever
// they come from. It keeps nothing between imports, which may run concurrently.
type Importer struct {
	Pool   Pool
	Budget *disk.Budget // bounds the memory of transfers; nil: one of the default size for each import
	Logger *slog.Logger // nil discards
}

// Disk is a disk to be imported.
type Disk struct {
	Key string // in Records.VDIs
	SR  xapi.Ref[xapi.SR]

	// Content is read once. If it has a method Confirm(context.Context) error, as a
	// catalog.Disk has, that is asked afterwards whether what was read was right; an
	// error undoes the import.
	Content disk.Source

	// Base is a disk of the pool to begin with: it is cloned, and of Content only
	// what is not a hole is written over it. Null: the disk begins as zeros.
	Base xapi.Ref[xapi.VDI]

	// Memory says that the disk is the memory of the VM, which is made suspended: at
	// most one is.
	Memory bool
}

// VMOptions says what an imported VM is to be like.
type VMOptions struct {
	Name        string // name label
	Description string
	Tags        []string // added to those of the record
	NewMACs     bool     // the pool chooses MAC addresses; else those of the records are kept

	// Progress is told how far the content of each disk has got. Calls come one
	// at a time; it must not block.
	Progress func(Progress)
}

// Progress says how far a disk is.
type Progress struct {
	Disk        string // its key in Records.VDIs
	Done, Total int64  // bytes of the transfer
}

// Imported is what an import has made.
type Imported struct {
	VM    xapi.Ref[xapi.VM]
	UUID  string
	Disks map[string]xapi.Ref[xapi.VDI] // by key in Records.VDIs

	Suspended bool // and not halted
}

// Import makes a halted VM, or a suspended one with its memory. Disks of the records
// that are not among disks are left out, with what attaches them. Until it is complete
// the VM is called "[Importing…] …" and cannot be started. When Import fails or ctx
// ends, all that it made is destroyed, within two minutes.
func (i *Importer) Import(ctx context.Context, records Records, disks []Disk, opts VMOptions) (imported *Imported, err error) {
	vm, err := parseRecord(records.VM, "is_a_template", "is_control_domain", "ha_always_run", "is_a_snapshot", "is_snapshot_from_vmpp")
	if err != nil {
		return nil, fmt.Errorf("restore: vm: %w", err)
	}
	m := &making{
		pool: i.Pool, log: i.Logger, budget: i.Budget, records: records, opts: opts,
		made: Imported{Disks: map[string]xapi.Ref[xapi.VDI]{}},
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if m.budget == nil {
		m.budget = disk.NewBudget(0)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.undo(ctx))
		}
	}()
	state := record{}
	if err := m.createMemory(ctx, disks, state); err != nil {
		return nil, err
	}
	if err := m.createVM(ctx, vm, state); err != nil {
		return nil, err
	}
	if err := m.createDisks(ctx, disks); err != nil {
		return nil, err
	}
	if err := m.fillDisks(ctx, disks); err != nil {
		return nil, err
	}
	if err := m.createVIFs(ctx); err != nil {
		return nil, err
	}
	if err := m.createVTPMs(ctx); err != nil {
		return nil, err
	}
	if err := m.finish(ctx, vm); err != nil {
		return nil, err
	}
	return &m.made, nil
}

// making is an import under way.
type making struct {
	pool    Pool
	log     *slog.Logger
	budget  *disk.Budget
	records Records
	opts    VMOptions

	made       Imported
	progressMu sync.Mutex
}

// undo destroys what was made, also after ctx has ended.
func (m *making) undo(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	var errs []error
	if !m.made.VM.IsNull() {
		errs = append(errs, destroyVM(ctx, m.pool, m.made.VM))
	}
	for _, ref := range m.made.Disks {
		errs = append(errs, destroyVDI(ctx, m.pool, ref))
	}
	return errors.Join(errs...)
}
