package selector_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/selector"
)

func query(tb testing.TB, text string) *selector.Query {
	tb.Helper()
	q, err := selector.ParseQuery(text)
	require.NoError(tb, err)
	return q
}

func TestQueriesFit(t *testing.T) {
	vm := map[string]any{
		"name_label": "Web 1", "power_state": "Running", "memory": map[string]any{"size": 2048.0}, "tags": []any{"prod", "front-end"},
		"auto_poweron": false, "CPUs": map[string]any{"number": 4}, "os_version": nil, "name_description": "a\\b 漢字",
	}
	for text, want := range map[string]bool{
		``:                       true,
		`web`:                    true,
		`name_label:web`:         true,
		`name_label:"web 1"`:     true,
		`name_label:"web  1"`:    false,
		`tags:prod tags:end`:     true,
		`tags:/^prod/ tags:/d$/`: true,
		`tags:/^end/`:            false,
		`tags:f*t-e`:             true,
		`tags:p*e`:               false, // each element for itself
		`!tags:db`:               true,
		`tags:!db`:               true,
		`|(tags:db tags:prod)`:   true,
		`tags:|(db prod)`:        true,
		`memory:size:>2047`:      true,
		`memory:size:<2048`:      false,
		`memory:size:<=2048`:     true,
		`memory:2048`:            true,
		`204`:                    false,
		`CPUs:number:4`:          true,
		`"4"`:                    false,
		`auto_poweron?`:          false,
		`!auto_poweron?`:         true,
		`os_version?`:            false,
		`os_version:name:x`:      false,
		`memory?`:                true,
		`tags:length:2`:          true,
		`tags:0:prod`:            true,
		`toString?`:              false,
		`漢`:                      true,
		`"a\\b"`:                 true,
		`/a\\b/`:                 true,
		`(power_state:running)`:  true,
		`RUNNING`:                true,
		`/RUNNING/`:              false,
		`/RUNNING/i`:             true,
	} {
		q := query(t, text)
		require.Equal(t, want, q.Match(vm), text)
		require.Equal(t, want, query(t, q.String()).Match(vm), q.String())
	}
}

func TestQueriesArePrintedPlainly(t *testing.T) {
	for text, want := range map[string]string{
		``:              ``,
		`  a   b `:      `a b`,
		`((a)) (b (c))`: `a (b c)`,
		`|(a)`:          `a`,
		`| ( a "b c" )`: `|(a "b c")`,
		`! ! a`:         `!!a`,
		`!(a b)`:        `!(a b)`,
		`a : "b"`:       `a:b`,
		`a:(b c)`:       `a:(b c)`,
		`"a b"?`:        `"a b"?`,
		`"32"`:          `"32"`,
		`32`:            `32`,
		`32:a`:          `"32":a`,
		`>=1e3`:         `>=1e3`,
		`/a\/b/i`:       `/a\/b/i`,
		`"\"\\"`:        `"\"\\"`,
		`a*b`:           `a*b`,
		`"*"`:           `"*"`,
		`漢é`:            `"漢é"`, // Xen Orchestra needs the quotes
		`a"b"/c/`:       `a b /c/`,
		`""`:            `""`,
	} {
		q := query(t, text)
		require.Equal(t, want, q.String(), text)
		require.Equal(t, want, query(t, want).String())
	}
}

func TestQueryErrorsPointAtTheCharacter(t *testing.T) {
	for text, want := range map[string]string{
		`a (b`:                    "at character 3: the parenthesis is not closed",
		`a b)`:                    "at character 4: a closing parenthesis",
		`()`:                      "at character 1: nothing in the parentheses",
		`é |a`:                    "at character 3: | is followed by",
		`a |`:                     "at character 3: | is followed by",
		`a !`:                     "at character 3: nothing follows the !",
		`(!)`:                     "at character 2: nothing follows the !",
		`a:`:                      "at character 2: nothing follows the : of property \"a\"",
		`(a:)`:                    "at character 3: nothing follows",
		`a > 5`:                   "at character 4: a number follows > at once",
		`>=x`:                     "at character 3: a number follows >=",
		`a "b c`:                  "at character 3: the quote is not closed",
		`/a`:                      "at character 1: the regular expression is not closed",
		`a /(/`:                   "at character 3: error parsing regexp",
		`/(?<=a)b/`:               "no look-around",
		`/(a)\1/`:                 "no look-around, no back references",
		`/(a{1000}){1000}/`:       "at character 1: error parsing regexp",
		`a, b`:                    `at character 2: unexpected ','`,
		`a*:b`:                    `at character 3: unexpected ':'`,
		`a ?`:                     `at character 3: unexpected '?'`,
		"a\xffb":                  "at character 2: not UTF-8",
		"a\x00":                   `at character 2: unexpected '\x00'`,
		strings.Repeat("(", 5e4):  "at character 101: nested more than 100 deep",
		strings.Repeat("!", 5e4):  "at character 101: nested more than 100 deep",
		strings.Repeat("a:", 150): "nested more than 100 deep",
		strings.Repeat("a", 7e4):  "longer than 65536 bytes",
	} {
		_, err := selector.ParseQuery(text)
		var wrong *selector.QueryError
		require.ErrorAs(t, err, &wrong, text)
		require.ErrorContains(t, err, want)
		require.Less(t, len(err.Error()), 400)
	}
}

func TestQueriesAreKeptAsText(t *testing.T) {
	var config struct{ VMs *selector.Query }
	require.NoError(t, json.Unmarshal([]byte(`{"VMs": "a  b"}`), &config))
	text, err := json.Marshal(config)
	require.NoError(t, err)
	require.JSONEq(t, `{"VMs":"a  b"}`, string(text))
	require.Error(t, json.Unmarshal([]byte(`{"VMs": "("}`), &config))
}

func FuzzParseQuery(f *testing.F) {
	for _, text := range []string{`a:|(b "c d" !e?) >=5`, `/a\/b/i x*y 32 "32"`, `漢 é:"":x`, `!(a b) -0x1 Infinity`} {
		f.Add(text, `{"a":["b",{"x":32}],"é":"c d"}`)
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		q, err := selector.ParseQuery(text)
		if err != nil {
			var wrong *selector.QueryError
			require.ErrorAs(t, err, &wrong)
			require.LessOrEqual(t, wrong.Offset, len(text))
			return
		}
		again, err := selector.ParseQuery(q.String())
		require.NoError(t, err, q.String())
		require.Equal(t, q.String(), again.String())
		var v any
		if json.Unmarshal([]byte(value), &v) != nil {
			return
		}
		require.Equal(t, q.Match(v), again.Match(v))
		if object, ok := v.(map[string]any); ok {
			s, err := selector.ByQuery(q, nil)
			require.NoError(t, err)
			require.NotEmpty(t, s.Explain(object).Reason)
		}
	})
}
