package restore

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xapi"
)

// parallelDisks is the number of disks of a VM whose contents are imported at a time.
const parallelDisks = 4

// createDisks makes the disks, empty or as clones, and attaches them.
func (m *making) createDisks(ctx context.Context, disks []Disk) error {
	for _, d := range disks {
		if d.Memory {
			continue // it was made before the VM
		}
		if err := m.createDisk(ctx, d); err != nil {
			return fmt.Errorf("restore: disk %s: %w", d.Key, err)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(m.records.VBDs)) {
		if err := m.createVBD(ctx, m.records.VBDs[key]); err != nil {
			return fmt.Errorf("restore: VBD %s: %w", key, err)
		}
	}
	return nil
}

func (m *making) createDisk(ctx context.Context, d Disk) error {
	vdi, err := m.vdiRecord(d.Key)
	if err != nil {
		return err
	}
	var ref xapi.Ref[xapi.VDI]
	if !d.Base.IsNull() {
		if err := m.pool.CallAsync(ctx, "VDI.clone", &ref, d.Base); err != nil {
			return err
		}
		m.made.Disks[d.Key] = ref
		return m.pool.Call(ctx, "VDI.set_name_label", nil, ref, "[Importing] "+vdi.text("name_label"))
	}
	r := vdi.pick("name_description", "read_only", "sharable", "tags", "type", "xenstore_data")
	r.set("name_label", "[Importing] "+vdi.text("name_label"))
	r.set("other_config", withoutJobKeys(vdi.dict("other_config")))
	r.set("SR", d.SR)
	r.set("virtual_size", max(vdi.number("virtual_size"), d.Content.Size()))
	for name, value := range map[string]any{"type": "user", "sharable": false, "read_only": false} {
		if _, ok := r[name]; !ok {
			r.set(name, value)
		}
	}
	if err := m.pool.CallAsync(ctx, "VDI.create", &ref, r); err != nil {
		return err
	}
	m.made.Disks[d.Key] = ref
	return nil
}

func (m *making) vdiRecord(key string) (record, error) {
	return parseRecord(m.records.VDIs[key], "sharable", "read_only")
}

// createVBD attaches a disk, if it is one of those imported.
func (m *making) createVBD(ctx context.Context, raw json.RawMessage) error {
	vbd, err := parseRecord(raw, "bootable", "unpluggable", "empty", "currently_attached")
	if err != nil {
		return err
	}
	ref, ok := m.made.Disks[vbd.text("VDI")]
	if !ok {
		return nil
	}
	r := vbd.pick("bootable", "mode", "other_config", "qos_algorithm_type", "qos_algorithm_params", "type", "unpluggable", "userdevice")
	r.set("VM", m.made.VM)
	r.set("VDI", ref)
	r.set("empty", false)
	m.attached(r, vbd)
	return m.pool.Call(ctx, "VBD.create", nil, r)
}

// fillDisks imports the contents, some disks at a time, and gives the disks
// their names.
func (m *making) fillDisks(ctx context.Context, disks []Disk) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelDisks)
	for _, d := range disks {
		group.Go(func() error {
			if err := m.fillDisk(ctx, d); err != nil {
				return fmt.Errorf("restore: disk %s: %w", d.Key, err)
			}
			return nil
		})
	}
	return group.Wait()
}

func (m *making) fillDisk(ctx context.Context, d Disk) error {
	vdi, err := m.vdiRecord(d.Key)
	if err != nil {
		return err
	}
	ref := m.made.Disks[d.Key]
	blocks, err := blocksOf(ctx, d)
	if err != nil {
		return err
	}
	name := vdi.text("name_label")
	if len(blocks) > 0 {
		if err := m.send(ctx, d, ref, blocks, name); err != nil {
			return err
		}
	}
	if content, ok := d.Content.(interface{ Confirm(context.Context) error }); ok {
		if err := content.Confirm(ctx); err != nil {
			return err
		}
	}
	return m.pool.Call(ctx, "VDI.set_name_label", nil, ref, name)
}

// blocksOf returns the blocks to be sent: those with data, and over a clone also
// those that have become zeros.
func blocksOf(ctx context.Context, d Disk) ([]uint32, error) {
	if d.Base.IsNull() {
		return vhd.DataBlocks(ctx, d.Content)
	}
	var blocks []uint32
	for e, err := range d.Content.Extents(ctx, 0, d.Content.Size()) {
		if err != nil {
			return nil, err
		}
		if e.Kind == disk.Hole || e.Len == 0 {
			continue
		}
		for i := e.Off / disk.BlockSize; i <= (e.End()-1)/disk.BlockSize; i++ {
			if n := len(blocks); n == 0 || blocks[n-1] < uint32(i) {
				blocks = append(blocks, uint32(i))
			}
		}
	}
	return blocks, nil
}

// send imports blocks of a disk as a VHD, of which the pool ignores whether it
// is a differencing one: what is not in it stays as it was.
func (m *making) send(ctx context.Context, d Disk, ref xapi.Ref[xapi.VDI], blocks []uint32, name string) error {
	uuid, err := vhd.ParseUUID(d.uuid(m.records))
	if err != nil {
		return err
	}
	layout := vhd.Layout{Type: vhd.Dynamic, Size: d.Content.Size(), UUID: uuid, Blocks: blocks, Profile: vhd.Host}
	export, err := vhd.NewExport(ctx, d.Content, layout)
	if err != nil {
		return err
	}
	buffer, err := m.budget.Block(ctx)
	if err != nil {
		return err
	}
	defer buffer.Release()
	body := &meter{
		from: export, buffer: buffer.Bytes(), total: export.Size(),
		report: func(done, total int64) { m.progress(Progress{d.Key, done, total}) },
	}
	return m.pool.ImportVDI(ctx, ref, export.Size(), body, &xapi.ImportVDIOptions{Format: "vhd", Name: "xenbackup: " + name})
}

func (d Disk) uuid(records Records) string {
	vdi, _ := parseRecord(records.VDIs[d.Key]) // decoded before
	return vdi.text("uuid")
}

func (m *making) progress(p Progress) {
	if m.opts.Progress == nil {
		return
	}
	m.progressMu.Lock()
	defer m.progressMu.Unlock()
	m.opts.Progress(p)
}

// meter reads from a stream a buffer at a time, so that the storage sees few
// large reads whatever the transport asks for, and reports how far it is.
type meter struct {
	from   io.Reader
	buffer []byte
	ready  []byte // of buffer, to be given out
	done   int64
	total  int64
	report func(done, total int64)
}

// Read implements io.Reader.
func (r *meter) Read(p []byte) (int, error) {
	if len(r.ready) == 0 {
		n, err := io.ReadFull(r.from, r.buffer[:min(int64(len(r.buffer)), max(1, r.total-r.done))])
		if n == 0 {
			return 0, err
		}
		r.ready = r.buffer[:n] // the error comes again with the next read
		r.done += int64(n)
		r.report(r.done, r.total)
	}
	n := copy(p, r.ready)
	r.ready = r.ready[n:]
	return n, nil
}
