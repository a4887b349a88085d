package xapi

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

func TestLiteralsSeeAcrossReads(t *testing.T) {
	t.Parallel()
	in := `{"a":NaN,"b\\":[-Infinity,Infinity,-1e-5,true,null],"c":"NaN \" -Infinity"}`
	want := `{"a":null,"b\\":[null,null,-1e-5,true,null],"c":"NaN \" -Infinity"}`
	for _, src := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in)), iotest.DataErrReader(strings.NewReader(in))} {
		got, err := io.ReadAll(newLiterals(src))
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
}

func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"jsonrpc":"2.0","result":{"a":NaN},"id":1}`, `{"result":null,"error":["CODE","p"],"id":1}`,
		`{"jsonrpc":"2.0","error":{"code":1,"message":"CODE","data":["p",1]},"id":1}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		filtered, err := io.ReadAll(newLiterals(strings.NewReader(text)))
		require.NoError(t, err)
		if json.Valid([]byte(text)) {
			require.Equal(t, text, string(filtered)) // valid JSON passes unchanged
		}
		var result any
		failed, err := decodeAnswer(strings.NewReader(text), &result)
		if err == nil {
			require.True(t, json.Valid(filtered))
		}
		if failed != nil {
			require.NotEmpty(t, failed[0])
		}
	})
}
