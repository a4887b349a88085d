package xapitest_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
	"github.com/xenbackup/xenbackup/xva"
)

// twoDisks is a pool with a halted VM called web that has two disks with
// content, one of them with a tail that is no whole MiB, and an interface.
func twoDisks(t *testing.T) *xapitest.Pool {
	t.Helper()
	p := xapitest.NewPool(t, xapitest.Inventory{
		SRs: []xapitest.SR{{Name: "Local storage"}, {Name: "other"}},
		VMs: []xapitest.VM{{
			Name: "web", Description: "été <&>", Tags: []string{"prod"}, OtherConfig: map[string]string{"k": "v"},
			Disks: []xapitest.Disk{{Name: "root", Size: 6 * mib, Bootable: true}, {Name: "data", Size: 5*mib + 512}},
			VIFs:  []xapitest.VIF{{MAC: "02:00:00:00:00:01"}},
		}},
	})
	vm := p.VM("web")
	fill(t, vm.Disks[0].Path, 3*mib-512, mib, 1)
	fill(t, vm.Disks[1].Path, 5*mib-512, 1024, 2)
	return p
}

// answer is the head of an answer.
type answer struct {
	status int
	line   string // "HTTP/1.1 500 internal error"
	length int64  // -1 without one
	header http.Header
}

// download gets a path of the pool and returns the whole answer and the task.
func download(t *testing.T, p *xapitest.Pool, c *xapi.Client, path string, query url.Values) (answer, []byte, *xapi.Task) {
	t.Helper()
	ref := task(t, c)
	query.Set("task_id", ref)
	query.Set("session_id", login(t, p))
	resp := get(t, p.URL()+path+"?"+query.Encode())
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return answer{resp.StatusCode, resp.Proto + " " + resp.Status, resp.ContentLength, resp.Header}, body, finished(t, c, ref)
}

// upload puts a body to a path of the pool and returns the task.
func upload(t *testing.T, p *xapitest.Pool, c *xapi.Client, path string, query url.Values, body []byte) *xapi.Task {
	t.Helper()
	ref := task(t, c)
	query.Set("task_id", ref)
	query.Set("session_id", login(t, p))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, p.URL()+path+"?"+query.Encode(), bytes.NewReader(body))
	require.NoError(t, err)
	if resp, err := http.DefaultClient.Do(req); err == nil { // a refused body resets the connection: the task tells
		_, _ = io.Copy(io.Discard, resp.Body)
		require.NoError(t, resp.Body.Close())
	}
	return finished(t, c, ref)
}

// importedVM returns the machine that the task of an import has made.
func importedVM(t *testing.T, p *xapitest.Pool, done *xapi.Task) xapitest.VMInfo {
	t.Helper()
	require.Equal(t, "success", done.Status, "%v", done.ErrorInfo)
	for _, vm := range p.VMs() {
		if strings.Contains(done.Result, "<value>"+vm.Ref+"</value>") {
			return vm
		}
	}
	t.Fatalf("no machine in %s", done.Result)
	return xapitest.VMInfo{}
}

func TestExportedVMBecomesTheSameVM(t *testing.T) {
	t.Parallel()
	for _, compression := range []string{"", "true", "zstd"} {
		t.Run("compression "+compression, func(t *testing.T) {
			t.Parallel()
			p := twoDisks(t)
			c := p.Client(t)
			vm := p.VM("web")
			resp, body, done := download(t, p, c, "/export", url.Values{"ref": {vm.Ref}, "use_compression": {compression}})
			require.Equal(t, "HTTP/1.0 200 OK", resp.line)
			require.Equal(t, int64(-1), resp.length)
			require.Equal(t, "application/octet-stream", resp.header.Get("Content-Type"))
			require.NotEmpty(t, resp.header.Get("Task-Id"))
			require.Equal(t, "success", done.Status)
			require.Empty(t, done.Result)
			if compression != "" {
				require.Less(t, len(body), 2*mib)
			}

			got := importedVM(t, p, upload(t, p, c, "/import", url.Values{"sr_uuid": {p.SR("other").UUID}}, body))
			require.NotEqual(t, vm.UUID, got.UUID)
			require.Len(t, got.Disks, 2)
			for i, disk := range got.Disks {
				require.Equal(t, vm.Disks[i].Name, disk.Name)
				want := content(t, vm.Disks[i].Path)
				have := content(t, disk.Path)
				require.True(t, bytes.Equal(want, have[:len(want)]), "disk %d differs", i)
				require.Empty(t, bytes.Trim(have[len(want):], "\x00"))
				require.Equal(t, p.SR("other").Ref, call[string](t, c, "VDI.get_SR", disk.Ref))
			}
			record := call[map[string]any](t, c, "VM.get_record", got.Ref)
			require.Equal(t, "été <&>", record["name_description"])
			require.Equal(t, []any{"prod"}, record["tags"])
			require.Equal(t, "Halted", record["power_state"])
			config, ok := record["other_config"].(map[string]any)
			require.True(t, ok)
			require.Equal(t, "v", config["k"])
			require.NotEmpty(t, config["import_task"])
			require.NotEqual(t, call[map[string]string](t, c, "VM.get_other_config", vm.Ref)["mac_seed"], config["mac_seed"])
			vifs := call[[]string](t, c, "VM.get_VIFs", got.Ref)
			require.Len(t, vifs, 1)
			require.NotEqual(t, "02:00:00:00:00:01", call[string](t, c, "VIF.get_MAC", vifs[0]))
			require.Empty(t, call[map[string]string](t, c, "VM.get_current_operations", got.Ref))
			require.Empty(t, p.Leaks())
		})
	}
}

func TestRestoredVMKeepsItsIdentity(t *testing.T) {
	t.Parallel()
	p := twoDisks(t)
	c := p.Client(t)
	vm := p.VM("web")
	_, body, _ := download(t, p, c, "/export", url.Values{"uuid": {vm.UUID}})
	again := func() *xapi.Task { return upload(t, p, c, "/import", url.Values{"restore": {"true"}}, body) }
	require.Equal(t, []string{"VM_TO_IMPORT_IS_NOT_NEWER_VERSION", vm.Ref, "0", "0"}, again().ErrorInfo)
	call[any](t, c, "VM.destroy", vm.Ref)
	got := importedVM(t, p, again())
	require.Equal(t, vm.UUID, got.UUID)
	vifs := call[[]string](t, c, "VM.get_VIFs", got.Ref)
	require.Equal(t, "02:00:00:00:00:01", call[string](t, c, "VIF.get_MAC", vifs[0]))

	// A copy of it has the same seed for its MACs only when it is restored beside it.
	_, body, _ = download(t, p, c, "/export", url.Values{"uuid": {vm.UUID}})
	body = bytes.ReplaceAll(body, []byte(vm.UUID), []byte("00000000-0000-4000-8000-000000000000"))
	require.Equal(t, "DUPLICATE_MAC_SEED", again().ErrorInfo[0])
	call[any](t, c, "VM.start", got.Ref, false, false)
	body = bytes.ReplaceAll(body, []byte("00000000-0000-4000-8000-000000000000"), []byte(vm.UUID))
	require.Equal(t, []string{"VM_BAD_POWER_STATE", got.Ref, "halted", "running"}, again().ErrorInfo)
}

func TestSnapshotIsExportedAsATemplate(t *testing.T) {
	t.Parallel()
	p := twoDisks(t)
	c := p.Client(t)
	call[any](t, c, "VM.start", p.VM("web").Ref, false, false)
	snap := snapshot(t, p, c, "frozen")
	_, body, done := download(t, p, c, "/export", url.Values{"ref": {snap.Ref}})
	require.Equal(t, "success", done.Status)
	r, err := xva.NewReader(bytes.NewReader(body), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	require.Equal(t, int64(2), r.OVA().Version.ExportVSN)
	for vm := range r.OVA().OfClass("VM") {
		require.Equal(t, true, vm.Snapshot["is_a_template"])
		require.Equal(t, false, vm.Snapshot["is_a_snapshot"])
		require.Equal(t, "OpaqueRef:NULL", vm.Snapshot["snapshot_of"])
	}
	require.Len(t, r.Disks(), 2)
	require.True(t, call[bool](t, c, "VM.get_is_a_template", importedVM(t, p, upload(t, p, c, "/import", url.Values{}, body)).Ref))
}

func TestExportRefusesWhatCannotBeExported(t *testing.T) {
	t.Parallel()
	p := twoDisks(t)
	c := p.Client(t)
	vm := p.VM("web")
	resp, _, done := download(t, p, c, "/export", url.Values{"ref": {vm.Ref}, "preserve_power_state": {"yes"}})
	require.Equal(t, 500, resp.status)
	require.Equal(t, "INTERNAL_ERROR", done.ErrorInfo[0])
	resp, _, done = download(t, p, c, "/export", url.Values{"uuid": {"none"}})
	require.Equal(t, 500, resp.status)
	require.Equal(t, []string{"UUID_INVALID", "VM", "none"}, done.ErrorInfo)
	call[any](t, c, "VM.start", vm.Ref, false, false)
	resp, _, done = download(t, p, c, "/export", url.Values{"ref": {vm.Ref}})
	require.Equal(t, 500, resp.status)
	require.Equal(t, []string{"VM_BAD_POWER_STATE", vm.Ref, "halted, suspended", "running"}, done.ErrorInfo)
	require.Empty(t, p.Leaks())
}

func TestBrokenExportOfAVMIsNeverAnArchive(t *testing.T) {
	t.Parallel()
	p := twoDisks(t)
	c := p.Client(t)
	vm := p.VM("web")
	_, whole, _ := download(t, p, c, "/export", url.Values{"ref": {vm.Ref}})
	p.Break("GET /export", xapitest.OnCall(1), int64(len(whole)-600), xapitest.Cut)
	_, body, done := download(t, p, c, "/export", url.Values{"ref": {vm.Ref}})
	require.Len(t, body, len(whole)-600)
	require.Equal(t, "failure", done.Status)
	p.Fail("GET /export", xapitest.OnCall(1), &xapi.Error{Code: "VDI_IO_ERROR", Params: []string{"disk on fire"}})
	_, body, done = download(t, p, c, "/export", url.Values{"ref": {vm.Ref}})
	require.Contains(t, string(body), "500 Internal Server Error", "a second answer in the body")
	require.Equal(t, []string{"VDI_IO_ERROR", "disk on fire"}, done.ErrorInfo)
	require.Empty(t, p.Leaks())
}

func TestRefusedImportLeavesNothing(t *testing.T) {
	t.Parallel()
	p := twoDisks(t)
	c := p.Client(t)
	vm := p.VM("web")
	_, body, _ := download(t, p, c, "/export", url.Values{"ref": {vm.Ref}})
	edited := func(old, changed string) []byte {
		require.Contains(t, string(body), old)
		return bytes.Replace(body, []byte(old), []byte(changed), 1)
	}
	flipped := bytes.Clone(body)
	flipped[len(body)-8192] ^= 1 // in a chunk
	disks := len(call[[]string](t, c, "VDI.get_all"))
	for _, row := range []struct {
		name string
		body []byte
		want []string
	}{
		{"empty", nil, []string{"IMPORT_ERROR_PREMATURE_EOF"}},
		{"cut in ova.xml", body[:2000], []string{"IMPORT_ERROR_PREMATURE_EOF"}},
		{"cut in a disk", body[:len(body)-4096], []string{"IMPORT_ERROR_PREMATURE_EOF"}},
		{"a bit of a disk", flipped, []string{"IMPORT_ERROR_SOME_CHECKSUMS_FAILED"}},
		{"no archive", bytes.Repeat([]byte("x"), 4096), []string{"IMPORT_ERROR_UNEXPECTED_FILE", "ova.xml", ""}},
		{"newer pool", edited("<name>xapi_major</name><value>25</value>", "<name>xapi_major</name><value>99</value>"), []string{"IMPORT_INCOMPATIBLE_VERSION"}},
		{"a field is missing", edited("<name>user_version</name>", "<name>user_versiom</name>"), []string{"IMPORT_ERROR_GENERIC"}},
	} {
		done := upload(t, p, c, "/import", url.Values{}, row.body)
		require.Equal(t, "failure", done.Status, row.name)
		require.Equal(t, row.want, done.ErrorInfo[:len(row.want)], row.name)
	}
	require.Len(t, p.VMs(), 1)
	require.Len(t, call[[]string](t, c, "VDI.get_all"), disks)
	require.Empty(t, p.Leaks())

	// The archive ends with two blocks that nobody needs.
	importedVM(t, p, upload(t, p, c, "/import", url.Values{}, body[:len(body)-1024]))
}

func TestTransfersOfVMsHaveTheManners(t *testing.T) {
	t.Parallel()
	p := twoDisks(t)
	c := p.Client(t)
	s := login(t, p)
	for _, row := range []struct{ method, path string }{
		{"GET", "/export"}, {"PUT", "/import"}, {"GET", "/export_metadata"}, {"PUT", "/import_metadata"}, {"GET", "/pool/xmldbdump"}, {"PUT", "/pool/xmldbdump"},
	} {
		ref := task(t, c)
		answer, _ := talk(t, p, fmt.Sprintf("%s %s?session_id=OpaqueRef:x&task_id=%s HTTP/1.1\r\nHost: p\r\nContent-Length: 0\r\n\r\n", row.method, row.path, ref))
		require.Contains(t, answer, " 401 ", row.path)
		require.Contains(t, answer, "WWW-Authenticate: Basic realm=", row.path)
		require.Equal(t, []string{"SESSION_AUTHENTICATION_FAILED"}, finished(t, c, ref).ErrorInfo, row.path)
	}
	for _, path := range []string{"/import", "/import_metadata"} {
		ref := task(t, c)
		answer, _ := talk(t, p, fmt.Sprintf("PUT %s?session_id=%s&task_id=%s HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\n", path, s, ref))
		require.Contains(t, answer, " 403 ", path)
		require.Equal(t, []string{"IMPORT_ERROR_CANNOT_HANDLE_CHUNKED"}, finished(t, c, ref).ErrorInfo, path)
	}
	ref := task(t, c)
	answer, _ := talk(t, p, fmt.Sprintf("PUT /import?session_id=%s&task_id=%s&sr_uuid=none HTTP/1.1\r\nHost: p\r\nContent-Length: 0\r\n\r\n", s, ref))
	require.Contains(t, answer, " 500 ")
	require.Equal(t, []string{"UUID_INVALID", "SR", "none"}, finished(t, c, ref).ErrorInfo)
	ref = task(t, c)
	call[any](t, c, "pool.set_default_SR", call[[]string](t, c, "pool.get_all")[0], "OpaqueRef:NULL")
	answer, _ = talk(t, p, fmt.Sprintf("PUT /import?session_id=%s&task_id=%s HTTP/1.1\r\nHost: p\r\nContent-Length: 0\r\n\r\n", s, ref))
	require.Contains(t, answer, " 500 ")
	require.Equal(t, []string{"DEFAULT_SR_NOT_FOUND", "OpaqueRef:NULL"}, finished(t, c, ref).ErrorInfo)
}

// Without a length an import ends when the archive does, though the connection
// stays open.
func TestImportNeedsNoLength(t *testing.T) {
	t.Parallel()
	p := twoDisks(t)
	c := p.Client(t)
	_, body, _ := download(t, p, c, "/export", url.Values{"ref": {p.VM("web").Ref}})
	ref := task(t, c)
	answer, _ := talk(t, p, fmt.Sprintf("PUT /import?session_id=%s&task_id=%s HTTP/1.1\r\nHost: p\r\n\r\n%s", login(t, p), ref, body))
	require.True(t, strings.HasPrefix(answer, "HTTP/1.1 200 OK\r\n") || answer == "", "reset at the very end is as on a host")
	importedVM(t, p, finished(t, c, ref))
}

func TestMetadataOfVMsMakesARoundTrip(t *testing.T) {
	t.Parallel()
	p := twoDisks(t)
	c := p.Client(t)
	vm := p.VM("web")
	snapshot(t, p, c, "kept")
	resp, body, done := download(t, p, c, "/export_metadata", url.Values{"all": {"true"}, "include_dom0": {"false"}, "export_snapshots": {"false"}})
	require.Equal(t, "success", done.Status)
	require.Equal(t, int64(len(body)), resp.length)
	call[any](t, c, "VM.destroy", vm.Ref)

	dry := upload(t, p, c, "/import_metadata", url.Values{"dry_run": {"true"}, "restore": {"true"}}, body)
	require.Equal(t, "success", dry.Status)
	require.Empty(t, p.VMs())
	got := importedVM(t, p, upload(t, p, c, "/import_metadata", url.Values{"restore": {"true"}}, body))
	require.Equal(t, vm.UUID, got.UUID)
	require.Equal(t, vm.Disks, got.Disks, "the disks that are there")

	call[any](t, c, "VDI.destroy", vm.Disks[1].Ref)
	call[any](t, c, "VM.destroy", got.Ref)
	missing := upload(t, p, c, "/import_metadata", url.Values{}, body)
	require.Equal(t, "VDI_LOCATION_MISSING", missing.ErrorInfo[0])
	mapped := importedVM(t, p, upload(t, p, c, "/import_metadata", url.Values{"vdi:" + vm.Disks[1].UUID: {vm.Disks[0].UUID}}, body))
	require.Equal(t, vm.Disks[0].UUID, mapped.Disks[1].UUID)
	resp, _, done = download(t, p, c, "/export_metadata", url.Values{"uuid": {"none"}})
	require.Equal(t, "HTTP/1.1 500 internal error", resp.line)
	require.Equal(t, "failure", done.Status)
}

func TestDatabaseIsRestoredFromItsDump(t *testing.T) {
	t.Parallel()
	p := twoDisks(t)
	c := p.Client(t)
	vm := p.VM("web")
	call[any](t, c, "VM.add_to_other_config", vm.Ref, `it's a \ "key"`, "<&>\n")
	before := call[map[string]any](t, c, "VM.get_record", vm.Ref)
	resp, body, done := download(t, p, c, "/pool/xmldbdump", url.Values{})
	require.Equal(t, int64(-1), resp.length)
	require.Equal(t, "success", done.Status)
	call[any](t, c, "VM.set_name_label", vm.Ref, "changed")
	call[any](t, c, "VM.clone", vm.Ref, "new")

	dry := upload(t, p, c, "/pool/xmldbdump", url.Values{"dry_run": {"true"}}, body)
	require.Equal(t, "success", dry.Status)
	require.Len(t, p.VMs(), 2)
	bad := upload(t, p, c, "/pool/xmldbdump", url.Values{}, body[:len(body)-20])
	require.Equal(t, "failure", bad.Status)
	require.Len(t, p.VMs(), 2)
	whole := upload(t, p, c, "/pool/xmldbdump", url.Values{}, body)
	require.Equal(t, "success", whole.Status)
	require.Len(t, p.VMs(), 1)
	require.Equal(t, before, call[map[string]any](t, c, "VM.get_record", vm.Ref))
}

// Debian's reader of archives knows SHA-1 alone, so the pool has to be an old one.
func TestXvaImgReadsTheDisks(t *testing.T) {
	t.Parallel()
	program := testenv.Require(t, "xva-img")
	p := twoDisks(t)
	c := p.Client(t)
	_, body, _ := download(t, p, c, "/export", url.Values{"ref": {p.VM("web").Ref}})
	dir := filepath.Join(t.TempDir(), "unpacked")
	require.NoError(t, os.Mkdir(dir, 0o700))
	r, err := xva.NewReader(bytes.NewReader(body), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	var old bytes.Buffer
	w, err := xva.NewWriter(&old, r.OVA(), nil)
	require.NoError(t, err)
	for {
		chunk, err := r.Next()
		if err == io.EOF { //nolint:errorlint // a reader's end is io.EOF itself
			break
		}
		require.NoError(t, err)
		require.NoError(t, w.WriteChunk(chunk.Disk.ID, chunk.Off, chunk.Data))
	}
	require.NoError(t, w.Close())
	tar := exec.CommandContext(t.Context(), "tar", "-xf", "-", "-C", dir)
	tar.Stdin = &old
	out, err := tar.CombinedOutput()
	require.NoError(t, err, string(out))
	for i, d := range r.Disks() {
		raw := filepath.Join(dir, "disk.raw")
		out, err := exec.CommandContext(t.Context(), program, "-p", "disk-export", filepath.Join(dir, d.ID)+"/", raw).CombinedOutput()
		require.NoError(t, err, string(out))
		want := content(t, p.VM("web").Disks[i].Path)
		require.True(t, bytes.HasPrefix(content(t, raw), want), "disk %d", i)
		require.NoError(t, os.Remove(raw))
	}
}

// curl is strict about lengths and ends of bodies.
func TestCurlIsContentWithTheHandlers(t *testing.T) {
	t.Parallel()
	program := testenv.Require(t, "curl")
	p := twoDisks(t)
	c := p.Client(t)
	dir := t.TempDir()
	curl := func(args ...string) (string, error) {
		cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program, append([]string{"-sS", "--fail", "--max-time", "30"}, args...)...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	vm := p.VM("web")
	user := p.Username() + ":" + p.Password()
	archive, raw, dump := filepath.Join(dir, "web.xva"), filepath.Join(dir, "root.raw"), filepath.Join(dir, "db.xml")
	for _, args := range [][]string{
		{"-u", user, "-o", archive, p.URL() + "/export?uuid=" + vm.UUID},
		{"-b", "session_id=" + login(t, p), "-o", raw, p.URL() + "/export_raw_vdi?vdi=" + vm.Disks[0].UUID},
		{"-u", user, "-o", dump, p.URL() + "/pool/xmldbdump"},
	} {
		out, err := curl(args...)
		require.NoError(t, err, out)
	}
	require.True(t, bytes.Equal(content(t, vm.Disks[0].Path), content(t, raw)))

	ref := task(t, c)
	_, err := curl("-u", user, "-T", archive, p.URL()+"/import?task_id="+ref)
	if err != nil { // reset at the very end is as on a host
		require.Contains(t, err.Error(), "exit status")
	}
	require.Equal(t, content(t, vm.Disks[0].Path), content(t, importedVM(t, p, finished(t, c, ref)).Disks[0].Path))
	out, err := curl("-u", user, "-T", dump, p.URL()+"/pool/xmldbdump?dry_run=true")
	require.NoError(t, err, out)
	for want, args := range map[string][]string{
		"401": {p.URL() + "/export?uuid=" + vm.UUID},
		"404": {"-u", user, p.URL() + "/export_raw_vdi?format=cow&vdi=" + vm.Disks[0].UUID},
		"403": {"-u", user, "-T", archive, "-H", "Transfer-Encoding: chunked", p.URL() + "/import"},
		"500": {"-u", user, p.URL() + "/export?uuid=none"},
	} {
		out, err := curl(args...)
		require.Error(t, err, want)
		require.Contains(t, out, want)
	}
}
