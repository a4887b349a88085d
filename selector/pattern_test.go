package selector_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/selector"
)

func pattern(tb testing.TB, text string) *selector.Pattern {
	tb.Helper()
	p, err := selector.ParsePattern([]byte(text))
	require.NoError(tb, err)
	return p
}

func TestPatternsFit(t *testing.T) {
	vm := map[string]any{
		"type": "VM", "power_state": "Running", "$pool": "p1", "memory": map[string]any{"size": int64(2048)}, "CPUs": map[string]any{"number": 2},
		"tags": []string{"prod", "web"}, "suspendSr": nil, "auto_poweron": true, "other": map[string]string{"a": "b"}, "n": json.Number("5"),
	}
	for text, want := range map[string]bool{
		`{}`:             true,
		`{"type": "VM"}`: true,
		`{"type": "vm"}`: false,
		`{"type": "VM", "power_state": "Halted"}`: false,
		`{"tags": ["prod"]}`:                      true,
		`{"tags": ["prod", "db"]}`:                false,
		`{"tags": "prod"}`:                        false,
		`{"tags": {"__or": [["db"], ["web"]]}}`:   true,
		`{"tags": {"__not": ["db"]}}`:             true,
		`{"tags": {"__and": [["prod"], {"__not": {"__or": [["web"], ["db"]]}}]}}`: false,
		`{"$pool": {"__and": [{"__or": ["p1"]}, {"__not": {"__or": ["p2"]}}]}}`:   true,
		`{"memory": {"size": 2048}, "CPUs": {"number": 2}, "n": 5}`:               true,
		`{"suspendSr": null}`:            true,
		`{"affinityHost": null}`:         false,
		`{"affinityHost": {"__not": 1}}`: false, // the key must be there
		`{"__not": {"affinityHost": 1}}`: true,
		`{"auto_poweron": true}`:         true,
		`{"auto_poweron": 1}`:            false,
		`{"other": {"a": "b"}}`:          true,
		`{"__or": []}`:                   false,
		`{"__and": []}`:                  true,
	} {
		require.Equal(t, want, pattern(t, text).Match(vm), text)
	}
}

func TestPatternErrorsNameThePath(t *testing.T) {
	for text, want := range map[string][2]string{
		``:                                {"", "ends too early"},
		`{"a": `:                          {"", "ends too early"},
		`{"a" 1}`:                         {"", "at byte 6"},
		`{} {}`:                           {"", "more follows after byte 4"},
		`{"a": {"__or": "b"}}`:            {"a.__or", "needs a list"},
		`{"a": [{"__and": {"b": 1}}]}`:    {"a[0].__and", "needs a list"},
		`{"tags": {"__some": "a"}}`:       {"tags.__some", "not an operator"},
		`{"__or": [1, {"b": {"__x":1}}]}`: {"__or[1].b.__x", "not an operator"},
		`{"a": {"__not": 1, "b": 2}}`:     {"a.__not", "alone in its object"},
		`{"a.b": {"__not": {"__or":1}}}`:  {`["a.b"].__not.__or`, "needs a list"},
		strings.Repeat(`{"__not":`, 200) + "1" + strings.Repeat("}", 200):     {strings.Repeat("__not.", 100) + "__not", "more than 100 deep"},
		strings.Repeat("[", 1_000_000):                                        {"", "depth"},
		`"` + strings.Repeat("a", 5<<20) + `"`:                                {"", "longer than"},
		`{"a":` + strings.Repeat("[", 50_000) + "1":                           {"", "depth"},
		`{"a":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}": {"a" + strings.Repeat("[0]", 100), "more than 100 deep"},
	} {
		_, err := selector.ParsePattern([]byte(text))
		var wrong *selector.PatternError
		require.ErrorAs(t, err, &wrong)
		require.Equal(t, want[0], wrong.Path)
		require.ErrorContains(t, err, want[1])
	}
}

func TestPatternsThatListIDsAreLists(t *testing.T) {
	for text, want := range map[string][]string{
		`{"id": "u"}`:                          {"u"},
		`{"id": {"__or": ["v", "u", "v"]}}`:    {"v", "u"},
		`{"id": {"__or": []}}`:                 nil,
		`{"id": {"__or": ["u", 1]}}`:           nil,
		`{"id": {"__or": "u"}}`:                nil,
		`{"id": ""}`:                           nil,
		`{"id": "u", "type": "VM"}`:            nil,
		`{"id": {"__not": "u"}}`:               nil,
		`{"name_label": {"__or": ["u", "v"]}}`: nil,
		`"u"`:                                  nil,
	} {
		if p, err := selector.ParsePattern([]byte(text)); err == nil {
			ids, isList := p.IDs()
			require.Empty(t, cmp.Diff(want, ids), text)
			require.Equal(t, want != nil, isList, text)
		}
	}
}

func TestPatternsKeepTheirJSON(t *testing.T) {
	const text = `{"vms":{"type":"VM","b":1,"a":{"__or":[]}}}`
	var job struct {
		VMs *selector.Pattern `json:"vms"`
	}
	require.NoError(t, json.Unmarshal([]byte(text), &job))
	again, err := json.Marshal(job)
	require.NoError(t, err)
	require.Equal(t, text, string(again))
	require.Error(t, json.Unmarshal([]byte(`{"vms":{"__x":1}}`), &job))
	_, err = json.Marshal(&selector.Pattern{})
	require.Error(t, err)
}

func TestSmartIsWhatXenOrchestraStores(t *testing.T) {
	for _, row := range []struct {
		smart selector.Smart
		want  string
	}{
		{selector.Smart{}, `{"type":"VM"}`},
		{selector.Smart{PowerState: "Halted"}, `{"type":"VM","power_state":"Halted"}`},
		{selector.Smart{Pools: []string{"p"}}, `{"type":"VM","$pool":{"__or":["p"]}}`},
		{selector.Smart{NotPools: []string{"p"}, NoTags: []string{"t"}}, `{"type":"VM","$pool":{"__not":{"__or":["p"]}},"tags":{"__not":{"__or":[["t"]]}}}`},
		{selector.Smart{Pools: []string{"p"}, NotPools: []string{"q"}}, `{"type":"VM","$pool":{"__and":[{"__or":["p"]},{"__not":{"__or":["q"]}}]}}`},
		{selector.Smart{AllTags: []string{"a", "b"}}, `{"type":"VM","tags":["a","b"]}`},
		{selector.Smart{AnyTags: []string{"a"}, AllTags: []string{"b"}}, `{"type":"VM","tags":{"__and":[{"__or":[["a"]]},["b"]]}}`},
		{selector.Smart{Hosts: []string{"h"}}, `{"type":"VM","$container":{"__or":["h"]}}`},
	} {
		p, err := row.smart.Pattern()
		require.NoError(t, err)
		require.Equal(t, row.want, p.String())
	}
}

func FuzzParsePattern(f *testing.F) {
	f.Add([]byte(`{"tags":{"__and":[{"__or":[["a"],["b"]]},{"__not":["c"]}]},"n":1}`), []byte(`{"tags":["a"],"n":1}`))
	f.Add([]byte(`{"id":{"__or":["u","v"]}}`), []byte(`{"id":"u"}`))
	f.Fuzz(func(t *testing.T, text, value []byte) {
		p, err := selector.ParsePattern(text)
		if err != nil {
			var wrong *selector.PatternError
			require.ErrorAs(t, err, &wrong)
			return
		}
		var v any
		if json.Unmarshal(value, &v) != nil {
			return
		}
		not, err := selector.ParsePattern(fmt.Appendf(nil, `{"__not": %s}`, text))
		if err != nil {
			return // too deep, or too long
		}
		require.Equal(t, p.Match(v), !not.Match(v))
		if object, ok := v.(map[string]any); ok {
			s, err := selector.ByPattern(p, nil)
			require.NoError(t, err)
			require.NotEmpty(t, s.Explain(object).Reason)
			require.Equal(t, s.Explain(object).In, s.Selects(object))
		}
	})
}
