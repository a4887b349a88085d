package xapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/xmlvalue"
	"github.com/xenbackup/xenbackup/xapi"
)

// speakXML adds XML-RPC to a scripted host, as xapi writes it.
func (s *server) speakXML() {
	s.mux.HandleFunc("POST /RPC2", func(w http.ResponseWriter, r *http.Request) {
		method, params, err := readCall(r.Body)
		if err != nil {
			http.Error(w, "Internal Error", http.StatusInternalServerError)
			return
		}
		result, failed := s.dispatch(r, method, params)
		w.Header().Set("Content-Type", "text/xml")
		envelope := map[string]any{"Status": "Failure", "ErrorDescription": failed}
		if failed == nil {
			envelope = map[string]any{"Status": "Success", "Value": asXapi(result)}
		}
		_, _ = io.WriteString(w, xmlResponse(envelope))
	})
}

func xmlResponse(value any) string {
	text, err := xmlvalue.Append(nil, value)
	if err != nil {
		panic(err)
	}
	return "<?xml version=\"1.0\"?><methodResponse><params><param>" + string(text) + "</param></params></methodResponse>"
}

// readCall is strict: it takes what the call must look like and nothing else.
func readCall(r io.Reader) (string, []any, error) {
	body, err := io.ReadAll(r)
	if err != nil {
		return "", nil, err
	}
	call := regexp.MustCompile(`(?s)^<\?xml version="1.0" encoding="UTF-8"\?><methodCall><methodName>([A-Za-z0-9_.]+)</methodName><params>(.*)</params></methodCall>$`).FindSubmatch(body)
	if call == nil {
		return "", nil, fmt.Errorf("not a methodCall: %.200s", body)
	}
	var params []any
	for rest := call[2]; len(rest) > 0; {
		param, after, found := bytes.Cut(rest, []byte("</param>"))
		if !found || !bytes.HasPrefix(param, []byte("<param>")) {
			return "", nil, fmt.Errorf("not a param: %.200s", rest)
		}
		value, err := xmlvalue.Decode(param[len("<param>"):])
		if err != nil {
			return "", nil, err
		}
		params, rest = append(params, value), after
	}
	return string(call[1]), params, nil
}

// asXapi is a value as xapi's XML-RPC has it: integers are text, dates have their tag.
func asXapi(v any) any {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var plain any
	if err := dec.Decode(&plain); err != nil {
		panic(err)
	}
	return untyped(plain)
}

func untyped(v any) any {
	switch v := v.(type) {
	case json.Number:
		if strings.ContainsAny(string(v), ".eE") {
			f, _ := v.Float64()
			return f
		}
		return string(v)
	case string:
		if regexp.MustCompile(`^\d{8}T`).MatchString(v) {
			return xmlvalue.DateTime(v)
		}
	case []any:
		for i := range v {
			v[i] = untyped(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = untyped(v[name])
		}
	}
	return v
}

// filled is a record whose every field says something, unknown ones included.
func filled[T any](extra string) *T {
	record := new(T)
	value := reflect.ValueOf(record).Elem()
	for _, field := range value.Fields() {
		switch field.Kind() {
		case reflect.Int64:
			field.SetInt(1<<53 + 1)
		case reflect.Float64:
			field.SetFloat(0.25)
		case reflect.Bool:
			field.SetBool(true)
		case reflect.String:
			field.SetString("  a <b> & \"c\" é\n ")
			if field.Type() == reflect.TypeFor[xapi.Time]() {
				field.SetString("20260102T03:04:05Z")
			}
		default:
		}
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(extra), &members); err != nil {
		panic(err)
	}
	value.FieldByName("Extra").Set(reflect.ValueOf(members))
	return record
}

func sameOverBoth[T any, P xapi.Record[T]](t *testing.T, class, extra string) {
	t.Helper()
	s := newServer(t)
	s.speakXML()
	want := filled[T](extra)
	s.handle(class+".get_record", func([]any) (any, []string) { return want, nil })
	s.handle(class+".get_all_records", func([]any) (any, []string) { return map[string]any{"OpaqueRef:1": want, "OpaqueRef:2": want}, nil })
	type answers struct {
		One     *T
		All     map[xapi.Ref[T]]*T
		Untyped any
	}
	var over [2]answers
	for i, protocol := range []xapi.Protocol{xapi.JSONRPC, xapi.XMLRPC} {
		c := s.dial(t, func(o *xapi.Options) { o.Protocol = protocol })
		require.Equal(t, protocol, c.Protocol())
		var err error
		over[i].One, err = xapi.Get[T, P](t.Context(), c, "OpaqueRef:1")
		require.NoError(t, err)
		over[i].All, err = xapi.All[T, P](t.Context(), c)
		require.NoError(t, err)
		require.NoError(t, c.Call(t.Context(), class+".get_record", &over[i].Untyped, "OpaqueRef:1"))
	}
	sameJSON := cmp.Comparer(func(a, b json.RawMessage) bool {
		var left, right any
		if len(a) == 0 || len(b) == 0 {
			return len(a) == len(b)
		}
		return json.Unmarshal(a, &left) == nil && json.Unmarshal(b, &right) == nil && cmp.Equal(left, right)
	})
	require.Empty(t, cmp.Diff(over[0], over[1], sameJSON), class)
}

func TestRecordsAreTheSameOverBothProtocols(t *testing.T) {
	t.Parallel()
	const unknown = `{"from_a_newer_pool":" kept\t","also":{"k":"v"},"list":["1",true]}`
	sameOverBoth[xapi.VM](t, "VM", `{"memory_overhead":9007199254740993,"domid":-1,"order":7,"unknown_text":"42"}`)
	sameOverBoth[xapi.VDI](t, "VDI", unknown)
	sameOverBoth[xapi.VBD](t, "VBD", unknown)
	sameOverBoth[xapi.VIF](t, "VIF", `{"trunks":[1,2]}`)
	sameOverBoth[xapi.SR](t, "SR", unknown)
	sameOverBoth[xapi.PBD](t, "PBD", unknown)
	sameOverBoth[xapi.Host](t, "host", `{"virtual_hardware_platform_versions":[0,1,2]}`)
	sameOverBoth[xapi.Pool](t, "pool", `{"ha_plan_exists_for":3}`)
	sameOverBoth[xapi.Network](t, "network", unknown)
	sameOverBoth[xapi.PIF](t, "PIF", unknown)
	sameOverBoth[xapi.Task](t, "task", unknown)
	sameOverBoth[xapi.VTPM](t, "VTPM", unknown)
}

func TestCallsOverXMLRPC(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.speakXML()
	c := s.dial(t, func(o *xapi.Options) { o.Protocol = xapi.XMLRPC })

	var got []any
	s.handle("VM.echo", func(args []any) (any, []string) {
		got = args
		return "", nil
	})
	args := []any{
		xapi.Ref[xapi.VM]("OpaqueRef:1"), int64(1<<62 + 1), 30.5, true,
		[]string{},
		map[string]string{},
		" <&>\r\n\" é\U0001F600 ",
		map[string]any{"k": []int{1}},
		xapi.Ref[xapi.VM](""),
	}
	require.NoError(t, c.Call(t.Context(), "VM.echo", nil, args...))
	require.Empty(t, cmp.Diff([]any{
		"OpaqueRef:1", "4611686018427387905", 30.5, true,
		[]any{},
		map[string]any{},
		" <&>\r\n\" é\U0001F600 ",
		map[string]any{"k": []any{"1"}},
		"OpaqueRef:NULL",
	}, got))

	s.handle("VDI.get_virtual_size", func([]any) (any, []string) { return int64(1<<62 + 1), nil })
	s.handle("VM.novel_size", func([]any) (any, []string) { return 7, nil })
	s.handle("VM.get_name_label", func([]any) (any, []string) { return "42", nil })
	var size int64
	require.NoError(t, c.Call(t.Context(), "VDI.get_virtual_size", &size, "OpaqueRef:1"))
	require.Equal(t, int64(1<<62+1), size)
	require.NoError(t, c.Call(t.Context(), "VM.novel_size", &size))
	require.Equal(t, int64(7), size)
	var label any
	require.NoError(t, c.Call(t.Context(), "VM.get_name_label", &label, "OpaqueRef:1"))
	require.Equal(t, "42", label)

	s.handle("VM.start", func([]any) (any, []string) {
		return nil, []string{"VM_BAD_POWER_STATE", "OpaqueRef:1", "halted", "running"}
	})
	err := c.Call(t.Context(), "VM.start", nil, "OpaqueRef:1")
	require.ErrorIs(t, err, xapi.ErrVMBadPowerState)
	var refused *xapi.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, []string{"OpaqueRef:1", "halted", "running"}, refused.Params)

	s.async("VM.snapshot", func(ref string) { s.settle(ref, "success", "<value>OpaqueRef:snap</value>") })
	var snapshot xapi.Ref[xapi.VM]
	require.NoError(t, c.CallAsync(t.Context(), "VM.snapshot", &snapshot, "OpaqueRef:1", "s"))
	require.Equal(t, xapi.Ref[xapi.VM]("OpaqueRef:snap"), snapshot)

	s.mu.Lock()
	clear(s.sessions)
	s.mu.Unlock()
	require.NoError(t, c.Call(t.Context(), "VM.echo", nil, "again"))
}

func TestWhatXMLRPCCannotSayIsRefusedThereOnly(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.speakXML()
	s.handle("VM.echo", func([]any) (any, []string) { return "", nil })
	s.handle("VM.<echo>", func([]any) (any, []string) { return "", nil })
	overJSON := s.dial(t, nil)
	overXML := s.dial(t, func(o *xapi.Options) { o.Protocol = xapi.XMLRPC })
	for name, args := range map[string][]any{
		"markup in a key": {map[string]string{"a<b": "x"}}, "ampersand in a key": {[]any{map[string]any{"a&b": 1}}}, "control in a key": {map[string]string{"a\x01": ""}},
		"control in a text": {"bell\a"}, "null": {nil}, "null inside": {map[string]any{"k": nil}},
	} {
		before := s.called("VM.echo")
		err := overXML.Call(t.Context(), "VM.echo", nil, args...)
		require.ErrorIs(t, err, xapi.ErrNotEncodable, name)
		require.Equal(t, before, s.called("VM.echo"))
		require.NoError(t, overJSON.Call(t.Context(), "VM.echo", nil, args...), name)
	}
	require.ErrorIs(t, overXML.Call(t.Context(), "VM.<echo>", nil), xapi.ErrNotEncodable)
	require.NoError(t, overJSON.Call(t.Context(), "VM.<echo>", nil))
}

func TestDialFindsTheProtocol(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]http.HandlerFunc{
		"404": http.NotFound,
		"501": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotImplemented) },
		"a page": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html>welcome</html>")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.speakXML()
			s.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/jsonrpc" {
					refuse(w, r)
					return
				}
				s.mux.ServeHTTP(w, r)
			}))
			require.Equal(t, xapi.XMLRPC, s.dial(t, nil).Protocol())
			_, err := xapi.Dial(t.Context(), s.URL, &xapi.Options{Password: password, Protocol: xapi.JSONRPC})
			require.ErrorIs(t, err, xapi.ErrProtocol)
			_, err = xapi.Dial(t.Context(), s.URL, &xapi.Options{Password: "wrong"})
			require.ErrorIs(t, err, xapi.ErrAuthenticationFailed)
		})
	}
	s := newServer(t)
	require.Equal(t, xapi.JSONRPC, s.dial(t, nil).Protocol())
	s.serve(http.NotFoundHandler())
	_, err := xapi.Dial(t.Context(), s.URL, &xapi.Options{Password: password})
	require.ErrorIs(t, err, xapi.ErrProtocol)
	require.ErrorContains(t, err, "404")
}

func TestXMLAnswersOfEveryShape(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.speakXML()
	c := s.dial(t, func(o *xapi.Options) { o.Protocol = xapi.XMLRPC })
	get := func(text string, length int) (any, error) {
		s.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/xml")
			w.Header().Set("Content-Length", fmt.Sprint(length))
			_, _ = io.WriteString(w, text)
		}))
		var result any
		err := c.Call(t.Context(), "VM.get_other_config", &result)
		return result, err
	}
	success := func(value string) string {
		return " <?xml version='1.0'?>\n<methodResponse> <params>\n<param><value><struct><member><name>Status</name><value>Success</value></member><member>" +
			"<name>Value</name>" + value + "</member></struct></value></param></params>\n</methodResponse>\n"
	}
	for value, want := range map[string]any{
		"<value>  a\n </value>":                    "  a\n ",
		"<value/>":                                 "",
		"<value></value>":                          "",
		"<value><string> x</string></value>":       " x",
		"<value><double>nan</double></value>":      nil,
		"<value><boolean>0</boolean></value>":      false,
		"<value><array><data/></array></value>":    []any{},
		"<value><i8>9007199254740993</i8></value>": 9007199254740993.0,
		"<value><struct><member><name>a<b & c</name><value>1</value></member></struct></value>": map[string]any{"a<b & c": "1"},
	} {
		text := success(value)
		got, err := get(text, len(text))
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	whole := strings.TrimSpace(success("<value>x</value>"))
	for n := range len(whole) {
		_, err := get(whole[:n], len(whole))
		require.ErrorIs(t, err, xapi.ErrConnectionLost, "cut at %d", n)
		_, err = get(whole[:n], n)
		require.ErrorIs(t, err, xapi.ErrProtocol, "ended at %d", n)
	}
	for _, text := range []string{
		"<methodResponse><fault><value>" + password + "</value></fault></methodResponse>",
		xmlResponse("bare"), xmlResponse(map[string]any{}), xmlResponse(map[string]any{"Status": "Success"}),
		xmlResponse(map[string]any{"Status": "Failure"}), xmlResponse(map[string]any{"Status": "Failure", "ErrorDescription": []string{}}),
		whole + whole, whole + "x",
	} {
		_, err := get(text, len(text))
		require.ErrorIs(t, err, xapi.ErrProtocol, text)
		requireNoSecret(t, err)
	}
}
