package xmlvalue_test

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/xmlvalue"
)

func TestDecodeReadsWhatXapiWrites(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]any{
		"<value>OpaqueRef:1</value>":                                             "OpaqueRef:1",
		"<value>  a \n b </value>":                                               "  a \n b ",
		"<value>   </value>":                                                     "   ",
		"<value></value>":                                                        "",
		"<value/>":                                                               "",
		"<value>9223372036854775807</value>":                                     "9223372036854775807",
		"<value><i8>9223372036854775807</i8></value>":                            int64(math.MaxInt64),
		"<value><i4>-5</i4></value>":                                             int64(-5),
		"<value><int>7</int></value>":                                            int64(7),
		"<value><string> x </string></value>":                                    " x ",
		"<value><string/></value>":                                               "",
		"<value><boolean>1</boolean></value>":                                    true,
		"<value><boolean>0</boolean></value>":                                    false,
		"<value><double>0.5</double></value>":                                    0.5,
		"<value><double>nan</double></value>":                                    math.NaN(),
		"<value><double>-inf</double></value>":                                   math.Inf(-1),
		"<value><nil/></value>":                                                  nil,
		"<value><base64>aGk=</base64></value>":                                   []byte("hi"),
		"<value><array><data></data></array></value>":                            []any{},
		"<value>a &lt;b&gt; &amp;amp; &#x41;&#66; &what; & c</value>":            "a <b> &amp; AB &what; & c",
		"<?xml version=\"1.0\"?>\n<value>x</value>\n":                            "x",
		"<value><struct></struct></value>":                                       map[string]any{},
		"<value><array><data><value>a</value><value/></data></array></value>":    []any{"a", ""},
		"<value><dateTime.iso8601>20250319T04:16:24Z</dateTime.iso8601></value>": xmlvalue.DateTime("20250319T04:16:24Z"),
		"<value> <struct> <member> <name>a<b> & c</name> <value>v</value> </member> </struct> </value>": map[string]any{
			"a<b> & c": "v",
		},
	} {
		got, err := xmlvalue.Decode([]byte(text))
		require.NoError(t, err, text)
		if diff := cmp.Diff(want, got, cmpopts.EquateNaNs()); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

func TestDecodeNamesTheOffsetOfWhatIsWrong(t *testing.T) {
	t.Parallel()
	for text, off := range map[string]int{
		"":                                      0,
		"plain":                                 0,
		"<value>x</value>y":                     16,
		"<value><what>x</what></value>":         13,
		"<value>a<b></value>":                   8,
		"<value><boolean>2</boolean></value>":   16,
		"<value><i4>x</i4></value>":             11,
		"<value><base64>!</base64></value>":     15,
		"<value><double>1 2</double></value>":   15,
		"<value><struct><member><name/>":        23,
		"<value><array><data/><value/></array>": 21,
	} {
		_, err := xmlvalue.Decode([]byte(text))
		var syntax *xmlvalue.SyntaxError
		require.ErrorAs(t, err, &syntax, text)
		require.Equal(t, off, syntax.Off, "%s: %v", text, err)
	}
}

const sample = `<value><struct><member><name>a & <b></name><value><array><data><value>x &amp; y</value><value><boolean>1</boolean></value>` +
	`<value><double>1.5</double></value></data></array></value></member><member><name>n</name><value><nil/></value></member></struct></value>`

func TestDecodeRefusesEveryCut(t *testing.T) {
	t.Parallel()
	_, err := xmlvalue.Decode([]byte(sample))
	require.NoError(t, err)
	for n := range len(sample) {
		_, err := xmlvalue.Decode([]byte(sample[:n]))
		var syntax *xmlvalue.SyntaxError
		require.ErrorAs(t, err, &syntax, "cut at %d", n)
	}
}

func TestDecodeBoundsDepth(t *testing.T) {
	t.Parallel()
	nested := func(n int) []byte {
		return []byte(strings.Repeat("<value><array><data>", n) + "<value/>" + strings.Repeat("</data></array></value>", n))
	}
	_, err := xmlvalue.Decode(nested(xmlvalue.MaxDepth))
	require.NoError(t, err)
	_, err = xmlvalue.Decode(nested(xmlvalue.MaxDepth + 1))
	require.ErrorContains(t, err, "too deep")
	_, err = xmlvalue.Decode(nested(100_000))
	require.ErrorContains(t, err, "too deep")
}

func TestDecodeBoundsMemory(t *testing.T) { // alone: it measures
	for _, item := range []string{
		"<value/>", "<value><struct/></value>", "<value><array><data/></array></value>",
		"<value><struct><member><name>a</name><value/></member></struct></value>", "<value><array><data><value/></data></array></value>",
	} {
		text := []byte("<value><array><data>" + strings.Repeat(item, (8<<20)/len(item)) + "</data></array></value>")
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := xmlvalue.Decode(text)
		runtime.ReadMemStats(&after)
		require.ErrorContains(t, err, "too many values", item)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(48<<20), item)
	}
	many := []byte("<value><array><data>" + strings.Repeat("<value/>", xmlvalue.MaxValues-1) + "</data></array></value>")
	_, err := xmlvalue.Decode(many)
	require.NoError(t, err)
	_, err = xmlvalue.DecodeMax(append(many[:len(many)-len("</data></array></value>")], "<value/></data></array></value>"...), len(many)+8)
	require.NoError(t, err, "answers may hold more")
}

func TestAppendRefusesWhatHasNoForm(t *testing.T) {
	t.Parallel()
	_, err := xmlvalue.Append(nil, []any{struct{}{}})
	require.Error(t, err)
}

func TestJSONKeepsIntegersExactAndDropsNaN(t *testing.T) {
	t.Parallel()
	got, err := xmlvalue.JSON([]byte(`<value><array><data><value><i8>9007199254740993</i8></value><value><double>nan</double></value></data></array></value>`))
	require.NoError(t, err)
	require.JSONEq(t, `[9007199254740993,null]`, string(got))
	require.Contains(t, string(got), "9007199254740993")
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{sample, "<value/>", "<value>1</value>", "<value><i8>-1</i8></value>", "<value><base64>aGk=</base64></value>"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := xmlvalue.Decode(text)
		if err != nil {
			var syntax *xmlvalue.SyntaxError
			if !errors.As(err, &syntax) || syntax.Off > len(text) {
				t.Fatalf("%v", err)
			}
			return
		}
		// The first writing drops what XML cannot say; from then on the text is stable.
		first, err := xmlvalue.Append(nil, v)
		require.NoError(t, err)
		second := rewrite(t, first)
		require.Equal(t, string(second), string(rewrite(t, second)))
	})
}

func rewrite(t *testing.T, text []byte) []byte {
	t.Helper()
	v, err := xmlvalue.Decode(text)
	require.NoError(t, err, "%s", text)
	out, err := xmlvalue.Append(nil, v)
	require.NoError(t, err)
	return out
}

func Example() {
	v, err := xmlvalue.Decode([]byte("<value><array><data><value>OpaqueRef:1</value></data></array></value>"))
	fmt.Println(v, err)
	// Output: [OpaqueRef:1] <nil>
}
