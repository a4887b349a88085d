package xapitest_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// newDisk creates a disk through the API and returns its reference and file.
func newDisk(t *testing.T, p *xapitest.Pool, c *xapi.Client, size int64) (ref, path string) {
	t.Helper()
	ref = call[string](t, c, "VDI.create", map[string]any{
		"name_label": "new", "SR": p.SR("Local storage").Ref, "virtual_size": size, "type": "user", "sharable": false, "read_only": false,
		"other_config": map[string]string{},
	})
	path, err := p.VDIPath(call[string](t, c, "VDI.get_uuid", ref))
	require.NoError(t, err)
	return ref, path
}

// image builds a VHD stream of the blocks of disk.
func image(t *testing.T, kind vhd.DiskType, disk []byte, blocks ...uint32) []byte {
	t.Helper()
	var b bytes.Buffer
	l := vhd.Layout{Type: kind, Size: int64(len(disk)), UUID: vhd.UUID{1}, Blocks: blocks, Profile: vhd.Host}
	if kind == vhd.Differencing {
		l.ParentUUID, l.ParentName = vhd.UUID{2}, "parent.vhd"
	}
	w, err := vhd.NewStreamWriter(&b, l)
	require.NoError(t, err)
	for _, index := range blocks {
		require.NoError(t, w.WriteBlock(index, disk[int(index)*2*mib:min(len(disk), int(index+1)*2*mib)]))
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func importVHD(t *testing.T, c *xapi.Client, ref string, stream []byte) error {
	t.Helper()
	return c.ImportVDI(t.Context(), xapi.Ref[xapi.VDI](ref), int64(len(stream)), bytes.NewReader(stream), nil)
}

func TestImportedDiskHoldsWhatWasSent(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, xapitest.Inventory{})
	c := p.Client(t)
	ref, path := newDisk(t, p, c, 9*mib)
	require.EqualValues(t, 10*mib, call[int64](t, c, "VDI.get_virtual_size", ref), "sizes are rounded up")
	disk := make([]byte, 9*mib)
	copy(disk[2*mib:], random(2*mib, 1))
	copy(disk[8*mib:], random(mib, 2))
	require.NoError(t, importVHD(t, c, ref, image(t, vhd.Dynamic, disk, 1, 4)))
	require.True(t, bytes.Equal(append(disk, make([]byte, mib)...), content(t, path)))

	copy(disk[4*mib:], random(mib, 3))
	require.NoError(t, importVHD(t, c, ref, image(t, vhd.Differencing, disk, 2)), "a difference is applied to the disk")
	require.True(t, bytes.Equal(append(disk, make([]byte, mib)...), content(t, path)))
	require.Positive(t, call[int64](t, c, "VDI.get_physical_utilisation", ref))
	require.Empty(t, p.Leaks())
}

func TestImportWritesOnlyTheSectorsOfTheBitmap(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, xapitest.Inventory{})
	c := p.Client(t)
	ref, path := newDisk(t, p, c, 2*mib)
	old, fresh := random(2*mib, 1), random(2*mib, 2)
	require.NoError(t, importVHD(t, c, ref, image(t, vhd.Dynamic, old, 0)))
	stream := image(t, vhd.Differencing, fresh, 0)
	bitmap := stream[2048+512:][:512]
	clear(bitmap)
	bitmap[0], bitmap[511] = 0b0110_0000, 1 // sectors 1, 2 and the last one
	require.NoError(t, importVHD(t, c, ref, stream))
	want := bytes.Clone(old)
	copy(want[512:1536], fresh[512:1536])
	copy(want[2*mib-512:], fresh[2*mib-512:])
	require.True(t, bytes.Equal(want, content(t, path)))
}

// put uploads raw bytes and returns the answer's status, 0 if it got lost, and
// the task's end.
func put(t *testing.T, p *xapitest.Pool, c *xapi.Client, query string, length int64, body io.Reader) (int, *xapi.Task) {
	t.Helper()
	ref := task(t, c)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, p.URL()+"/import_raw_vdi?"+query+"&task_id="+ref+"&session_id="+login(t, p), body)
	require.NoError(t, err)
	req.ContentLength = length
	resp, err := http.DefaultClient.Do(req)
	if err != nil { // a body that the host did not read resets the connection
		return 0, finished(t, c, ref)
	}
	_, _ = io.ReadAll(resp.Body) // waits for the end of the upload
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode, finished(t, c, ref)
}

func TestImportOutcomeIsInTheTask(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Running", 8*mib))
	c := p.Client(t)
	raw := random(2*mib, 1)
	ref, path := newDisk(t, p, c, 2*mib)
	status, rec := put(t, p, c, "vdi="+ref, 2*mib, bytes.NewReader(raw))
	require.Equal(t, 200, status)
	require.EqualValues(t, "success", rec.Status)
	require.Equal(t, "<value>"+ref+"</value>", rec.Result)
	require.True(t, bytes.Equal(raw, content(t, path)))

	status, rec = put(t, p, c, "sr_id="+p.SR("Local storage").Ref, 4*mib, bytes.NewReader(append(raw, raw...)))
	require.Equal(t, 200, status)
	require.Contains(t, rec.Result, "<value>OpaqueRef:")

	_, rec = put(t, p, c, "format=vhd&vdi="+p.VM("web").Disks[0].Ref, 2*mib, bytes.NewReader(raw))
	require.Equal(t, "VDI_IN_USE", rec.ErrorInfo[0])

	status, rec = put(t, p, c, "vdi="+ref, -1, io.MultiReader(bytes.NewReader(raw))) // chunked
	require.Contains(t, []int{0, 404}, status)
	require.Equal(t, []string{"INTERNAL_ERROR", "Cannot handle encoding"}, rec.ErrorInfo)

	for name, stream := range map[string][]byte{
		"not a VHD": raw, "beyond the disk": image(t, vhd.Dynamic, append(make([]byte, 2*mib), raw...), 1),
	} {
		_, rec = put(t, p, c, "format=vhd&vdi="+ref, int64(len(stream)), bytes.NewReader(stream))
		require.Equal(t, "VDI_IO_ERROR", rec.ErrorInfo[0], name)
	}
}

func TestShortImportIsAnIOError(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, xapitest.Inventory{})
	c := p.Client(t)
	ref, _ := newDisk(t, p, c, 2*mib)
	stream := image(t, vhd.Dynamic, random(2*mib, 1), 0)
	for _, cut := range []int{0, 100, 2048, 3000, len(stream) - 512, len(stream) - 1} {
		job := task(t, c)
		request := fmt.Sprintf("PUT /import_raw_vdi?vdi=%s&format=vhd&session_id=%s&task_id=%s HTTP/1.1\r\nHost: p\r\nContent-Length: %d\r\n\r\n",
			ref, login(t, p), job, len(stream))
		cutTalk(t, p, request+string(stream[:cut]))
		rec := finished(t, c, job)
		require.EqualValues(t, "failure", rec.Status, "cut at %d", cut)
		require.Equal(t, "VDI_IO_ERROR", rec.ErrorInfo[0])
	}
	require.Empty(t, p.Leaks())
}

func TestFullRepositoryRefusesDisks(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, xapitest.Inventory{SRs: []xapitest.SR{{Name: "Local storage", Type: "lvm", Size: 10 * mib}}})
	c := p.Client(t)
	ref, _ := newDisk(t, p, c, 8*mib)
	args := map[string]any{
		"SR": p.SR("Local storage").Ref, "virtual_size": 4 * mib, "type": "user", "sharable": false, "read_only": false,
		"other_config": map[string]string{},
	}
	require.ErrorIs(t, c.Call(t.Context(), "VDI.create", nil, args), xapi.ErrSRFull)
	require.ErrorIs(t, c.Call(t.Context(), "VDI.resize", nil, ref, 12*mib), xapi.ErrSRFull)
	require.EqualValues(t, 8*mib, call[int64](t, c, "SR.get_physical_utilisation", p.SR("Local storage").Ref))
	call[any](t, c, "VDI.destroy", ref)
	call[string](t, c, "VDI.create", args)
}

// The framing of the XenAPI itself: pieces with their offsets, in any order.
func TestChunksOfARawImportGoWhereTheyBelong(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, xapitest.Inventory{})
	c := p.Client(t)
	ref, path := newDisk(t, p, c, 4*mib)
	chunk := func(off, length uint64, data []byte) []byte {
		b := binary.LittleEndian.AppendUint64(nil, off)
		return append(binary.LittleEndian.AppendUint32(b, uint32(length)), data...)
	}
	whole := slices.Concat(chunk(3*mib, mib, random(mib, 1)), chunk(100, 3, []byte("abc")), chunk(0, 0, nil))
	send := func(body []byte) *xapi.Task {
		made := task(t, c)
		cutTalk(t, p, fmt.Sprintf("PUT /import_raw_vdi?chunked=true&vdi=%s&session_id=%s&task_id=%s HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s",
			ref, login(t, p), made, len(body), body))
		return finished(t, c, made)
	}
	require.EqualValues(t, "success", send(whole).Status)
	want := make([]byte, 4*mib)
	copy(want[3*mib:], random(mib, 1))
	copy(want[100:], "abc")
	require.True(t, bytes.Equal(want, content(t, path)))
	for name, body := range map[string][]byte{
		"no end": whole[:len(whole)-12], "half a header": whole[:len(whole)-1], "half a chunk": whole[:mib],
		"beyond": chunk(4*mib-1, 2, []byte("no")), "before": chunk(1<<63, 2, []byte("no")), "far": chunk(1<<63-1, 2, []byte("no")),
	} {
		rec := send(body)
		require.EqualValues(t, "failure", rec.Status, name)
		require.Equal(t, "VDI_IO_ERROR", rec.ErrorInfo[0], name)
	}
}
