package xapitest_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// postXML sends a methodCall to a path and returns the status, the content type
// and the answer.
func postXML(t *testing.T, p *xapitest.Pool, path, method, params string) (int, string, string) {
	t.Helper()
	body := `<?xml version="1.0"?><methodCall><methodName>` + method + `</methodName><params>` + params + `</params></methodCall>`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL()+path, strings.NewReader(body))
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(answer)
}

// value writes a parameter.
func value(v string) string { return "<param><value>" + v + "</value></param>" }

const success = `<?xml version="1.0"?><methodResponse><params><param><value><struct>` +
	`<member><name>Status</name><value>Success</value></member><member><name>Value</name>%s</member>` +
	`</struct></value></param></params></methodResponse>`

func TestXMLRPCIsAnsweredWhereverNothingElseIs(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, xapitest.Inventory{})
	for _, path := range []string{"/", "/RPC2", "/xmlrpc", "/RPC2/deeper", ""} {
		status, kind, answer := postXML(t, p, path, "system.listMethods", "")
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "text/xml", kind)
		require.True(t, strings.HasPrefix(answer, `<?xml version="1.0"?><methodResponse><params><param><value><array><data>`), answer)
	}
	for _, broken := range []string{"<param>", "<x/>", value("<i5>1</i5>"), value("<string>a"), value("<array></array>"), value(strings.Repeat("<array><data><value>", 80))} {
		status, kind, _ := postXML(t, p, "/", "system.listMethods", broken)
		require.Equal(t, http.StatusInternalServerError, status, broken)
		require.Equal(t, "text/html", kind)
	}
}

func TestXMLRPCValuesAreWrittenAsHostsDo(t *testing.T) {
	t.Parallel()
	inv := oneVM("Halted", 8*mib)
	inv.VMs[0].OtherConfig = map[string]string{"a<b&c": "x\x01y"}
	p := xapitest.NewPool(t, inv)
	session, vm := value(login(t, p)), value(p.VM("web").Ref)
	get := func(field string) string {
		_, _, answer := postXML(t, p, "/", "VM.get_"+field, session+vm)
		return answer
	}
	want := func(v string) string { return strings.Replace(success, "%s", v, 1) }
	require.Equal(t, want("<value>1073741824</value>"), get("memory_static_max"))
	require.Equal(t, want("<value><boolean>0</boolean></value>"), get("is_a_template"))
	require.Equal(t, want("<value><dateTime.iso8601>19700101T00:00:00Z</dateTime.iso8601></value>"), get("snapshot_time"))
	require.Equal(t, want("<value><array><data></data></array></value>"), get("snapshots"))
	require.Contains(t, get("other_config"), "<member><name>a<b&c</name><value>xy</value></member>", "names are not escaped")

	_, _, answer := postXML(t, p, "/", "VM.set_ha_always_run", session+vm+value("<string>1</string>"))
	require.Contains(t, answer, "<name>Status</name><value>Failure</value>")
	_, _, answer = postXML(t, p, "/", "VM.set_has_vendor_device", session+vm+value("<boolean>true</boolean>"))
	require.Equal(t, want("<value></value>"), answer)
	require.Equal(t, want("<value><boolean>0</boolean></value>"), get("has_vendor_device"), "only 1 is true")
	_, _, answer = postXML(t, p, "/", "VM.set_user_version", session+vm+value("<i8> 9007199254740993 </i8>"))
	require.Equal(t, want("<value></value>"), answer)
	require.Equal(t, want("<value>9007199254740993</value>"), get("user_version"))
	_, _, answer = postXML(t, p, "/", "VM.set_name_label", session+vm+value("  a &lt; b\n"))
	require.Equal(t, want("<value></value>"), answer)
	require.Equal(t, want("<value>  a &lt; b\n</value>"), get("name_label"))
}

func TestOldPoolsSpeakXMLRPCAlone(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPoolWith(t, xapitest.Inventory{}, &xapitest.Options{NoJSONRPC: true})
	status, kind, _ := post(t, p, `{"jsonrpc":"2.0","id":1,"method":"session.login_with_password","params":["root","simulated-secret"]}`)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "text/xml", kind, "by which clients know")
	_, _, answer := postXML(t, p, "/", "session.login_with_password", value("root")+value("wrong"))
	require.Contains(t, answer, "<name>ErrorDescription</name><value><array><data><value>SESSION_AUTHENTICATION_FAILED</value><value>root</value>")
}
