package schedule_test

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
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/schedule"
)

//go:embed testdata/cron.mjs
var cronScript []byte

// question asks when an expression is due after a moment.
type question struct {
	Text string `json:"text"`
	Zone string `json:"zone"`
	From int64  `json:"from"`
}

// randomField is a field within bounds.
func randomField(r *rand.Rand, low, high int, names string) string {
	value := func() int { return low + r.IntN(high-low+1) }
	item := func() string {
		switch a, b := value(), value(); r.IntN(5) {
		case 0:
			return fmt.Sprintf("%d-%d", min(a, b), max(a, b))
		case 1:
			return fmt.Sprintf("%d-%d/%d", min(a, b), max(a, b), 1+r.IntN(high))
		case 2:
			if all := strings.Fields(names); len(all) > 0 {
				return all[r.IntN(len(all))]
			}
			fallthrough
		case 3:
			return fmt.Sprintf("*/%d", 1+r.IntN(high))
		default:
			return fmt.Sprint(a)
		}
	}
	if r.IntN(3) == 0 {
		return "*"
	}
	var text strings.Builder
	text.WriteString(item())
	for range r.IntN(3) {
		text.WriteString("," + item())
	}
	return text.String()
}

// howMany questions are asked: more with XENBACKUP_QUESTIONS.
func howMany(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(cmp.Or(os.Getenv("XENBACKUP_QUESTIONS"), "4000"))
	require.NoError(t, err)
	return n
}

// ask gives what Xen Orchestra's own library answers.
func ask(t *testing.T, questions []question) []string {
	t.Helper()
	var answers []string
	for some := range slices.Chunk(questions, 10_000) {
		input, err := json.Marshal(some)
		require.NoError(t, err)
		out, err := testenv.Node(t, fmt.Appendf(nil, "const questions = %s\n%s", input, cronScript))
		require.NoError(t, err, out)
		answers = append(answers, strings.Split(strings.TrimSpace(out), "\n")...)
	}
	require.Len(t, answers, len(questions))
	return answers
}

func seconds(times []time.Time) []string {
	var list []string
	for _, at := range times {
		list = append(list, fmt.Sprint(at.Unix()))
	}
	return list
}

// leavesOutMarch reports whether the answer lacks the first or second of March, which
// Xen Orchestra passes over when it looks for a day 30 or 31 in February.
func leavesOutMarch(want []string, got []time.Time) bool {
	for i, at := range seconds(got) {
		if i < len(want) && at != want[i] {
			return at < want[i] && got[i].Month() == time.March && got[i].Day() <= 2
		}
	}
	return false
}

// Where no clock is turned, expressions are due when Xen Orchestra's own library
// says so.
func TestDueWhenXenOrchestraSays(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	zones := []string{"UTC", "Asia/Tokyo", "Asia/Kolkata", "America/Bogota"}
	var questions []question
	for range howMany(t) {
		questions = append(questions, question{
			Text: strings.Join([]string{
				randomField(r, 0, 59, ""),
				randomField(r, 0, 23, ""),
				randomField(r, 1, 31, ""),
				randomField(r, 0, 11, "jan feb mar apr may jun jul aug sep oct nov dec"),
				randomField(r, 0, 6, "sun mon tue wen thu fri sat"),
			}, " "),
			Zone: zones[r.IntN(len(zones))],
			From: 1_767_225_600 + r.Int64N(10*365*86400), // ten years from 2026
		})
	}
	answers := ask(t, questions)
	compared, inMarch := 0, 0
	for i, q := range questions {
		c, err := schedule.Parse(q.Text, schedule.XO, location(t, q.Zone))
		if answers[i] == "error" {
			continue // it looks less far ahead
		}
		require.NoError(t, err, "%+v", q)
		want := strings.Fields(answers[i])
		got := c.Preview(time.Unix(q.From, 0), 3)
		if leavesOutMarch(want, got) {
			inMarch++
			continue
		}
		require.Equal(t, want, seconds(got), "%+v", q)
		compared++
	}
	require.Greater(t, compared, len(questions)*3/4)
	require.Less(t, inMarch, len(questions)/100)
	t.Logf("compared %d of %d, besides %d in March", compared, len(questions), inMarch)
}
