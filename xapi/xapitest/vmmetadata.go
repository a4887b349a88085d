package xapitest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/xenbackup/xenbackup/xva"
)

// getMetadata serves GET /export_metadata: an archive without disks, made in
// memory.
func (p *Pool) getMetadata(ctx context.Context, x *exchange) {
	t := p.openTransfer(ctx, x, exportMetadataRequest)
	if t == nil {
		return
	}
	t.run(ctx, func(ctx context.Context) (string, error) {
		body, err := p.metadataArchive(x.req)
		if err == nil && t.fault != nil && t.fault.err != nil {
			err = t.fault.err
		}
		if err != nil {
			_, _ = io.WriteString(x.conn, "HTTP/1.1 500 internal error\r\nconnection: close\r\ncontent-length: 0\r\n\r\n") // the client may be gone
			return "", err
		}
		if err := x.beginOld("task-id: "+t.task, "content-type: application/octet-stream",
			fmt.Sprintf("content-length: %d", len(body)), `content-disposition: attachment; filename="export.xva"`); err != nil {
			return "", fail("CLIENT_ERROR", err.Error())
		}
		err = t.send(ctx, body)
		_ = x.conn.Close()
		return "", err
	})
}

// metadataArchive describes the machines that the query names.
func (p *Pool) metadataArchive(r *http.Request) ([]byte, error) {
	query := r.URL.Query()
	all, err := flag(query.Get("all"), false)
	dom0, err2 := flag(query.Get("include_dom0"), true)
	snapshots, err3 := flag(query.Get("export_snapshots"), true)
	if err := errors.Join(err, err2, err3); err != nil {
		return nil, asFailure(err)
	}
	var vms []string
	if all {
		vms = slices.Sorted(maps.Keys(p.recordsWhere("VM", func(vm record) bool {
			return !vm.bool("is_default_template") && (dom0 || !vm.bool("is_control_domain")) && (snapshots || !vm.bool("is_a_snapshot"))
		})))
	} else {
		ref, _, err := p.db.byRefOrUUID("VM", query.Get("ref")+query.Get("uuid"))
		if err != nil {
			return nil, err
		}
		vms = []string{ref}
	}
	a := &archiver{preserve: true, metadata: true, snapshots: snapshots, excluded: slices.Collect(splitComma(query.Get("excluded_device_types")))}
	ova, _, err := p.archive(a, vms...)
	if err != nil {
		return nil, err
	}
	var body bytes.Buffer
	if _, err := xva.NewWriter(&body, ova, nil); err != nil { // writes ova.xml; the disks that it lists stay where they are
		return nil, err
	}
	body.Write(make([]byte, 2*sectorSize)) // the end of a tar
	return body.Bytes(), nil
}

// putMetadata serves PUT /import_metadata: machines whose disks are there
// already.
func (p *Pool) putMetadata(ctx context.Context, x *exchange) {
	t := p.openTransfer(ctx, x, importMetadataRequest)
	if t == nil {
		return
	}
	t.run(ctx, t.importMetadata)
}

func (t *transfer) importMetadata(ctx context.Context) (string, error) {
	if wantsChunked(t.x.req) {
		return t.refuse(http.StatusForbidden, fail("IMPORT_ERROR_CANNOT_HANDLE_CHUNKED"))
	}
	query := t.x.req.URL.Query()
	dry, err := flag(query.Get("dry_run"), false)
	if err != nil {
		return t.refuse(http.StatusInternalServerError, err)
	}
	if err := t.x.begin("task-id: " + t.task); err != nil {
		return "", fail("CLIENT_ERROR", err.Error())
	}
	body, err := io.ReadAll(io.LimitReader(t.archiveBody(ctx), xva.MaxOVA+1<<20))
	if err == nil && t.fault != nil && t.fault.err != nil {
		err = t.fault.err
	}
	if err != nil {
		return "", archiveFailure(ctx, err)
	}
	r, err := xva.NewReader(bytes.NewReader(body), nil)
	if err != nil {
		return "", archiveFailure(ctx, err)
	}
	defer func() { _ = r.Close() }()
	im := &importer{
		pool: t.pool, task: t.task, restore: query.Get("restore") == "true", force: query.Get("force") == "true",
		metadata: true, mapped: mappedDisks(query),
	}
	if err := im.check(r.OVA()); err != nil {
		return "", err
	}
	if dry {
		return xmlText([]string{})
	}
	if err := im.make(r.OVA()); err != nil {
		im.undo()
		return "", archiveFailure(ctx, err)
	}
	return xmlText(im.vms)
}

// mappedDisks reads vdi:<uuid in the archive>=<uuid in the pool>.
func mappedDisks(query map[string][]string) map[string]string {
	mapped := make(map[string]string)
	for key, values := range query {
		if uuid, ok := strings.CutPrefix(key, "vdi:"); ok && len(values) > 0 {
			mapped[uuid] = values[0]
		}
	}
	return mapped
}
