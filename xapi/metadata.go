package xapi

import (
	"context"
	"errors"
	"io"
	"net/url"
	"strconv"
	"strings"
)

// ExportMetadataOptions of [Client.ExportMetadata]; nil and zero fields mean the default.
type ExportMetadataOptions struct {
	NoSnapshots    bool     // leave out the snapshots of the VM
	NoDom0         bool     // leave out control domains when all VMs are exported
	ExcludeDevices []string // of vif, vbd, vgpu, vtpm
	Name           string   // of the pool's task
}

// ExportMetadata opens the records of a VM for reading: an XVA archive of ova.xml alone, without disks. The null reference stands for
// all VMs of the pool. The host makes it in memory before it answers. Always Close the download.
func (c *Client) ExportMetadata(ctx context.Context, vm Ref[VM], opts *ExportMetadataOptions) (*Download, error) {
	if opts == nil {
		opts = &ExportMetadataOptions{}
	}
	query, what := url.Values{"ref": {string(vm)}}, "export of the metadata of VM "+string(vm)
	if vm.IsNull() {
		what = "export of the metadata of all VMs"
		query = url.Values{"all": {"true"}, "include_dom0": {strconv.FormatBool(!opts.NoDom0)}}
	}
	query.Set("export_snapshots", strconv.FormatBool(!opts.NoSnapshots))
	if len(opts.ExcludeDevices) > 0 {
		query.Set("excluded_device_types", strings.Join(opts.ExcludeDevices, ","))
	}
	return c.download(ctx, what, opts.Name, "export_metadata", query)
}

// ImportMetadataOptions of [Client.ImportMetadata]; nil and zero fields mean the default.
type ImportMetadataOptions struct {
	Restore bool // as in ImportVMOptions
	Force   bool
	DryRun  bool              // only check; nothing is made
	VDIs    map[string]string // uuid of a disk in the archive to the uuid of the disk to use instead
	Name    string            // of the pool's task
}

// ImportMetadata makes VMs of what ExportMetadata gave, on disks that the pool has already. length is the exact size in bytes. Otherwise
// it is as ImportVM.
func (c *Client) ImportMetadata(ctx context.Context, length int64, body io.Reader, opts *ImportMetadataOptions) ([]Ref[VM], error) {
	if opts == nil {
		opts = &ImportMetadataOptions{}
	}
	if length == UnknownLength {
		return nil, errors.New("xapi: import of metadata: the length must be known")
	}
	query := url.Values{}
	setFlag(query, "restore", opts.Restore)
	setFlag(query, "force", opts.Force)
	setFlag(query, "dry_run", opts.DryRun)
	for from, to := range opts.VDIs {
		query.Set("vdi:"+from, to)
	}
	return c.importVMs(ctx, "import of metadata", opts.Name, "import_metadata", query, length, body)
}
