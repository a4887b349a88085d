package selector_test

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/selector"
)

//go:embed testdata/matchers.mjs
var matchersScript []byte

// question asks which of the values fit a pattern or a query.
type question struct {
	Pattern any    `json:"pattern,omitempty"`
	Query   string `json:"query,omitempty"`
	Values  []any  `json:"values"`
}

// howMany questions are asked: more with XENBACKUP_QUESTIONS.
func howMany(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(cmp.Or(os.Getenv("XENBACKUP_QUESTIONS"), "2000"))
	require.NoError(t, err)
	return n
}

// ask gives what Xen Orchestra's own libraries answer.
func ask(t *testing.T, questions []question) []string {
	t.Helper()
	var answers []string
	for some := range slices.Chunk(questions, 2000) {
		input, err := json.Marshal(some)
		require.NoError(t, err)
		out, err := testenv.Node(t, fmt.Appendf(nil, "const questions = %s\n%s", input, matchersScript))
		require.NoError(t, err, out)
		answers = append(answers, strings.Split(strings.TrimSuffix(out, "\n"), "\n")...)
	}
	require.Len(t, answers, len(questions))
	return answers
}

// generator makes values and what is asked of them from few words, so that they
// meet often.
type generator struct{ *rand.Rand }

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 8)) }

// vmPattern is a pattern for VMs.
func (g generator) vmPattern(t *testing.T) string {
	t.Helper()
	text, err := json.Marshal(map[string]any{"__and": []any{g.pattern(3), map[string]any{pick(g, "$pool", "tags", "type"): g.pattern(2)}}})
	require.NoError(t, err)
	return string(text)
}

func pick[T any](g generator, from ...T) T { return from[g.IntN(len(from))] }

func (g generator) scalar() any {
	return pick[any](g, "a", "B", "ab", "Running", "prod", "32", "", 0.0, 1.0, 32.0, -1.5, true, false, nil)
}

func (g generator) key() string { return pick(g, "a", "b", "tags", "$pool", "0", "length") }

func (g generator) value(depth int) any {
	switch n := g.IntN(6); {
	case depth == 0 || n < 2:
		return g.scalar()
	case n < 4:
		list := make([]any, g.IntN(4))
		for i := range list {
			list[i] = g.value(depth - 1)
		}
		return list
	default:
		object := map[string]any{}
		for range g.IntN(4) {
			object[pick(g, "a", "b", "tags", "$pool")] = g.value(depth - 1)
		}
		return object
	}
}

func (g generator) values() []any {
	values := make([]any, 20)
	for i := range values {
		values[i] = g.value(3)
	}
	return values
}

func (g generator) pattern(depth int) any {
	list := func() []any {
		list := make([]any, g.IntN(3))
		for i := range list {
			list[i] = g.pattern(depth - 1)
		}
		return list
	}
	if depth == 0 {
		return g.scalar()
	}
	switch g.IntN(8) {
	case 0:
		return g.scalar()
	case 1:
		return list()
	case 2:
		return map[string]any{"__and": list()}
	case 3, 4:
		return map[string]any{"__or": append(list(), g.pattern(depth-1))}
	case 5:
		return map[string]any{"__not": g.pattern(depth - 1)}
	default:
		object := map[string]any{}
		for range g.IntN(3) {
			object[g.key()] = g.pattern(depth - 1)
		}
		return object
	}
}

func TestPatternsFitWhatXenOrchestraSays(t *testing.T) {
	g := generator{newRand(1)}
	questions := make([]question, howMany(t))
	for i := range questions {
		questions[i] = question{Pattern: g.pattern(4), Values: g.values()}
		if i%2 == 0 { // most values fit none of the deeper ones
			questions[i].Pattern = g.pattern(2)
		}
	}
	fits := 0
	for i, answer := range ask(t, questions) {
		q := questions[i]
		text, err := json.Marshal(q.Pattern)
		require.NoError(t, err)
		if string(text) == "null" {
			continue // left out of the question
		}
		p, err := selector.ParsePattern(text)
		require.NoError(t, err, "%s", text)
		for j, v := range q.Values {
			want := answer[j] == '1'
			require.Equal(t, want, p.Match(v), "%s of %v", text, v)
			if want {
				fits++
			}
		}
	}
	require.Greater(t, fits, len(questions))
}

func (g generator) word() string {
	return pick(g, "a", "B", "ab", "Run", "prod", "3", "32", "-1.5", "0x20", "1e0", ".", "$pool", "tags", "é", "NaN")
}

func (g generator) quoted() string {
	return `"` + pick(g, "", "a", "a b", `\"`, `\\`, "32", "*", "é(", "漢") + `"`
}

func (g generator) term(depth int) string {
	blank := func() string { return pick(g, "", " ", "\t ") }
	terms := func() string {
		texts := make([]string, 1+g.IntN(3))
		for i := range texts {
			texts[i] = g.term(depth - 1)
		}
		return strings.Join(texts, " ")
	}
	kinds := 12
	if depth == 0 {
		kinds = 7
	}
	switch g.IntN(kinds) {
	case 0, 1:
		return g.word()
	case 2:
		return g.quoted()
	case 3:
		return g.word() + "*" + pick(g, "", g.word())
	case 4:
		return pick(g, "/a/", "/A/i", `/^pr\w+$/`, "/a|b/", `/\//`, `/\d{2}/`, "/x?/")
	case 5:
		return pick(g, "<", "<=", ">", ">=") + pick(g, "0", "1", "32", "-2", ".5", "1e1", "0x1f", "Infinity", "a", "")
	case 6:
		return pick(g, g.word(), g.quoted(), g.key()) + "?"
	case 7:
		return "(" + blank() + terms() + blank() + ")"
	case 8:
		return "|" + blank() + "(" + terms() + ")"
	case 9:
		return "!" + blank() + g.term(depth-1)
	default:
		return pick(g, g.key(), g.key(), g.key(), g.word(), `"a"`) + blank() + ":" + blank() + g.term(depth-1)
	}
}

// query is a random one; some have a character that does not belong there.
func (g generator) query() string {
	text := g.term(3)
	for range g.IntN(3) {
		text += pick(g, " ", "") + g.term(2)
	}
	if g.IntN(5) == 0 {
		at := g.IntN(len(text) + 1)
		for at < len(text) && text[at]&0xC0 == 0x80 {
			at++
		}
		text = text[:at] + pick(g, "(", ")", "|", "!", ":", "?", ",", "<", "é") + text[at:]
	}
	return text
}

// hasOpenQuote reports whether a quote is not closed: only Xen Orchestra takes that.
func hasOpenQuote(err error) bool {
	return err != nil && strings.Contains(err.Error(), "quote is not closed")
}

func TestQueriesFitWhatXenOrchestraSays(t *testing.T) {
	g := generator{newRand(2)}
	questions := make([]question, howMany(t))
	for i := range questions {
		questions[i] = question{Query: g.query(), Values: g.values()}
	}
	fits, refused := 0, 0
	for i, answer := range ask(t, questions) {
		q := questions[i]
		query, err := selector.ParseQuery(q.Query)
		if answer == "error" && strings.Contains(q.Query, "/^?") {
			continue // Go repeats an anchor
		}
		if answer == "error" {
			require.Error(t, err, "%q", q.Query)
			refused++
			continue
		}
		if hasOpenQuote(err) || strings.Contains(q.Query, `\é`) { // Go escapes only what needs it
			continue
		}
		require.NoError(t, err, "%q", q.Query)
		bits, printed, _ := strings.Cut(answer, " ")
		for j, v := range q.Values {
			want := bits[j] == '1'
			require.Equal(t, want, query.Match(v), "%q of %v", q.Query, v)
			if want {
				fits++
			}
		}
		var theirs string
		require.NoError(t, json.Unmarshal([]byte(printed), &theirs))
		again, err := selector.ParseQuery(theirs)
		if strings.Contains(theirs, "e+") {
			continue // 1e+99 neither of us reads
		}
		require.NoError(t, err, "%q", theirs)
		for _, v := range q.Values {
			require.Equal(t, query.Match(v), again.Match(v), "%q and %q of %v", q.Query, theirs, v)
		}
	}
	require.Greater(t, fits, len(questions))
	require.Greater(t, refused, len(questions)/20)
}
