package schedule_test

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"math/rand/v2"
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

// randomField is a field within bounds; steps over all are left out where Xen
// Orchestra counts wrong.
func randomField(r *rand.Rand, low, high int, names string, steps bool) string {
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
			if steps {
				return fmt.Sprintf("*/%d", 1+r.IntN(high))
			}
			fallthrough
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

// Where no clock is turned, expressions are due when Xen Orchestra's own library
// says so.
func TestDueWhenXenOrchestraSays(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	zones := []string{"UTC", "Asia/Tokyo", "Asia/Kolkata", "America/Bogota"}
	var questions []question
	for range 4000 {
		questions = append(questions, question{
			Text: strings.Join([]string{
				randomField(r, 0, 59, "", true),
				randomField(r, 0, 23, "", true),
				randomField(r, 1, 31, "", false),
				randomField(r, 0, 11, "jan feb mar apr may jun jul aug sep oct nov dec", true),
				randomField(r, 0, 6, "sun mon tue wen thu fri sat", true),
			}, " "),
			Zone: zones[r.IntN(len(zones))],
			From: 1_767_225_600 + r.Int64N(10*365*86400), // ten years from 2026
		})
	}
	input, err := json.Marshal(questions)
	require.NoError(t, err)
	out, err := testenv.Node(t, fmt.Appendf(nil, "const questions = %s\n%s", input, cronScript))
	require.NoError(t, err, out)
	answers := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, answers, len(questions))
	compared := 0
	for i, q := range questions {
		c, err := schedule.Parse(q.Text, schedule.XO, location(t, q.Zone))
		if answers[i] == "error" {
			continue // it looks less far ahead
		}
		require.NoError(t, err, "%+v", q)
		var got []string
		for _, at := range c.Preview(time.Unix(q.From, 0), 3) {
			got = append(got, fmt.Sprint(at.Unix()))
		}
		require.Equal(t, answers[i], strings.Join(got, " "), "%+v", q)
		compared++
	}
	require.Greater(t, compared, 3000)
}
