package xapitest_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// wire is one connection over which calls are made as text.
type wire struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func newWire(t *testing.T, p *xapitest.Pool) *wire {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(p.URL(), "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return &wire{t, conn, bufio.NewReader(conn)}
}

// post makes a call and returns the status and the body.
func (w *wire) post(path, body string) (int, string) {
	w.t.Helper()
	_, err := fmt.Fprintf(w.conn, "POST %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
	require.NoError(w.t, err)
	resp, err := http.ReadResponse(w.in, nil)
	require.NoError(w.t, err, body)
	answer, err := io.ReadAll(resp.Body)
	require.NoError(w.t, errors.Join(err, resp.Body.Close()))
	return resp.StatusCode, string(answer)
}

// Every message answers arguments of every wrong type with an error of the
// XenAPI: it neither dies nor hangs, and what was refused has changed nothing.
func TestEveryMessageRefusesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Running", 2*mib))
	p.Expect("is pending") // of task.create
	w := newWire(t, p)
	session := login(t, p)
	_, answer := w.post("/jsonrpc", `{"id":1,"method":"system.listMethods","params":[]}`)
	var names struct{ Result []string }
	require.NoError(t, json.Unmarshal([]byte(answer), &names))
	require.Greater(t, len(names.Result), 1000)
	code := regexp.MustCompile(`"error":\["([A-Z0-9_]+)"`)
	seen := make(map[string]int)
	for _, name := range names.Result {
		if strings.HasPrefix(name, "Async.") || slices.Contains([]string{"session.logout", "system.listMethods", "event.next"}, name) {
			continue
		}
		all := []string{`"x"`, `{"a":[1]}`, `null`, `true`, `-1.5`, `[[]]`, `1e999`}
		if strings.Contains(name, ".get_") {
			all = all[:2] // they all take one reference, or text
		}
		for _, wrong := range all {
			for _, n := range []int{1, 2, 4} {
				args := strings.Repeat(","+wrong, n)
				status, answer := w.post("/jsonrpc", `{"id":1,"method":"`+name+`","params":["`+session+`"`+args+`]}`)
				require.Equal(t, 200, status, "%s%s: %s", name, args, answer)
				if found := code.FindStringSubmatch(answer); found != nil {
					seen[found[1]]++
				}
			}
		}
	}
	for code := range seen {
		require.Contains(t, []string{
			"FIELD_TYPE_ERROR", "HANDLE_INVALID", "UUID_INVALID", "MESSAGE_PARAMETER_COUNT_MISMATCH", "SESSION_AUTHENTICATION_FAILED",
			"EVENT_FROM_TOKEN_PARSE_FAILURE", "INTERNAL_ERROR",
		}, code)
	}
	require.NotContains(t, seen, "MESSAGE_METHOD_UNKNOWN")
	require.Equal(t, "web", p.VM("web").Name)
	require.Len(t, p.VMs(), 1)
}

// The same in XML, which has more ways to be no call at all.
func TestXMLThatIsNoCallIsAnError(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, xapitest.Inventory{})
	deep := strings.Repeat("<value><array><data>", 5000) + strings.Repeat("</data></array></value>", 5000)
	call := func(inner string) string {
		return "<methodCall><methodName>VM.get_all</methodName><params><param>" + inner + "</param></params></methodCall>"
	}
	for _, body := range []string{
		"", "<", "<a/>", "<methodCall/>", "<methodCall><methodName/></methodCall>", call(deep), call("<value><int>x"), call("<value><nil/></value>"),
		call("<value><struct><member><value/></member></struct></value>"), "\x00\xff", `<!DOCTYPE x [<!ENTITY a "b">]>` + call("<value>&a;</value>"),
		`{"method":"VM.get_all"}`,
	} {
		status, answer := newWire(t, p).post("/", body)
		require.Contains(t, []int{200, 500}, status)
		require.NotContains(t, answer, "<name>Status</name><value>Success</value>", "%.80q", body)
	}
}

func TestFloatsThatAreNoNumbersGoThrough(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPoolWith(t, oneVM("Halted", 2*mib), &xapitest.Options{Dir: t.TempDir(), Keep: true})
	c := p.Client(t)
	vm := p.VM("web").Ref
	for text, want := range map[string]string{"NaN": "NaN", "-inf": "-Infinity", "Inf": "Infinity"} {
		_, _, answer := post(t, p, `{"id":1,"method":"VM.set_HVM_shadow_multiplier","params":["`+login(t, p)+`","`+vm+`","`+text+`"]}`)
		require.Contains(t, answer, `"error":null`)
		for method, arg := range map[string]string{"get_record": `"` + vm + `"`, "get_all_records_where": `"true"`} {
			_, _, answer = post(t, p, `{"id":1,"method":"VM.`+method+`","params":["`+login(t, p)+`",`+arg+`]}`)
			require.Contains(t, answer, `"HVM_shadow_multiplier":`+want, "as hosts write it, which is no JSON")
		}
		all, err := xapi.All[xapi.VM](t.Context(), c)
		require.NoError(t, err)
		require.Len(t, all, 2)
	}
}

// A client that sends its header drop by drop is given up.
func TestSlowHeadersAreGivenUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		network := xapitest.NewMemoryListener()
		p, err := xapitest.Start(xapitest.Inventory{}, &xapitest.Options{Dir: dir, Listener: network})
		require.NoError(t, err)
		start := time.Now()
		for range 2 {
			conn, err := network.DialContext(t.Context(), "", "")
			require.NoError(t, err)
			go func() {
				_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nA")
				for time.Since(start) < 50*time.Second {
					<-time.After(9 * time.Second)
					_, _ = io.WriteString(conn, ": b\r\nA")
				}
			}()
			answer, err := io.ReadAll(conn)
			require.NoError(t, err)
			require.True(t, strings.HasPrefix(string(answer), "HTTP/1.1 408 Request Timeout\r\n"), "%s", answer)
		}
		took := time.Since(start)
		require.Equal(t, 70*time.Second, took, "a minute for the whole, ten seconds without a word")
		require.NoError(t, p.Close())
	})
}

// What is sent as the body of an import, or said of it, harms nobody.
func TestHostileUploadsFailTheirTask(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Halted", 4*mib))
	c := p.Client(t)
	vdi := p.VM("web").Disks[0]
	put := func(path, header string, body []byte) string {
		ref := task(t, c)
		cutTalk(t, p, fmt.Sprintf("PUT %s&session_id=%s&task_id=%s HTTP/1.1\r\n%s\r\n\r\n%s", path, login(t, p), ref, header, body))
		rec := finished(t, c, ref)
		require.EqualValues(t, "failure", rec.Status, "%s %s", path, header)
		return rec.ErrorInfo[0]
	}
	huge := "Content-Length: 9223372036854775807"
	length := func(b []byte) string { return fmt.Sprintf("Content-Length: %d", len(b)) }
	for _, format := range []string{"raw", "vhd"} {
		path := "/import_raw_vdi?vdi=" + vdi.Ref + "&format=" + format
		require.Equal(t, "VDI_IO_ERROR", put(path, huge, []byte("few")))
		require.Equal(t, "VDI_IO_ERROR", put(path, huge, random(5*mib, 1)))
		require.Equal(t, "INTERNAL_ERROR", put(path, "Transfer-Encoding: chunked", []byte("0\r\n\r\n")))
	}
	stream := new(bytes.Buffer)
	d, err := c.ExportVDI(t.Context(), xapi.Ref[xapi.VDI](vdi.Ref), nil)
	require.NoError(t, err)
	_, err = io.Copy(stream, d)
	require.NoError(t, errors.Join(err, d.Finish(t.Context()), d.Close()))
	for off := 0; off < 4096; off += 331 {
		bad := slices.Clone(stream.Bytes())
		for i := range 8 {
			bad[off+i] ^= 0xff
		}
		ref := task(t, c)
		cutTalk(t, p, fmt.Sprintf("PUT /import_raw_vdi?format=vhd&vdi=%s&session_id=%s&task_id=%s HTTP/1.1\r\n%s\r\n\r\n%s",
			vdi.Ref, login(t, p), ref, length(bad), bad))
		require.NotEqual(t, "pending", finished(t, c, ref).Status)
	}
	require.Equal(t, "SR_BACKEND_FAILURE_79", put("/import_raw_vdi?format=raw&sr_uuid="+p.SR("Local storage").UUID, "Content-Length: 0", nil))
	require.Equal(t, "IMPORT_ERROR_UNEXPECTED_FILE", put("/import?x", huge, make([]byte, 512)))
	info, err := os.Stat(vdi.Path)
	require.NoError(t, err)
	require.Equal(t, int64(4*mib), info.Size())
}
