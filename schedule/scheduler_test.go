package schedule_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/schedule"
)

// memory is a store that may fail.
type memory struct {
	mu      sync.Mutex
	records map[string]schedule.Record
	err     error
	saves   int
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func (m *memory) Load(context.Context) (map[string]schedule.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.records, m.err
}

func (m *memory) Save(_ context.Context, records map[string]schedule.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.saves++
	if m.err == nil {
		m.records = records
	}
	return m.err
}

// plant is a scheduler in a bubble, whose clock may be set, and what happened in it.
type plant struct {
	*schedule.Scheduler
	t      *testing.T
	store  *memory
	mu     sync.Mutex
	set    time.Duration // by how much the clock was
	events []schedule.Event
	times  []time.Time // of the events, on that clock
}

// start is when every bubble begins.
var start = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func newPlant(t *testing.T) *plant {
	t.Helper()
	p := &plant{t: t, store: &memory{}}
	p.again()
	return p
}

// again is a restart of the program.
func (p *plant) again() {
	p.Scheduler = schedule.NewScheduler(&schedule.Options{Store: p.store, Now: p.now, Observer: p.note})
}

func (p *plant) now() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Add(p.set)
}

// turn sets the clock.
func (p *plant) turn(by time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set += by
}

func (p *plant) note(e schedule.Event) {
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events, p.times = append(p.events, e), append(p.times, now)
}

// log is what happened since it was asked last.
func (p *plant) log() []string {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	var lines []string
	for i, e := range p.events {
		line := p.times[i].UTC().Format("02 15:04:05 ") + e.Fire.Entry
		line += []string{" starts", " ends", " skipped", " missed", " clock", "unsaved"}[e.Kind]
		line += []string{"", " late", " by hand", " in " + e.Fire.Sequence}[e.Fire.Cause]
		if !e.Fire.Due.IsZero() {
			line += e.Fire.Due.UTC().Format(", due 02 15:04")
		}
		if e.Err != nil {
			line += ": " + e.Err.Error()
		}
		lines = append(lines, line)
	}
	p.events, p.times = nil, nil
	slices.Sort(lines)
	return lines
}

func (p *plant) expect(want ...string) {
	p.t.Helper()
	slices.Sort(want) // at the same second, any order
	require.Empty(p.t, cmp.Diff(want, p.log()))
}

// run lets it run for a while; then it is stopped.
func (p *plant) run(d time.Duration, meanwhile func()) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), d)
	defer cancel()
	var done sync.WaitGroup
	var err error
	done.Go(func() { err = p.Run(ctx) })
	synctest.Wait()
	if meanwhile != nil {
		meanwhile()
	}
	done.Wait()
	require.ErrorIs(p.t, err, context.DeadlineExceeded)
}

// wait lets time pass.
func (p *plant) wait(d time.Duration) {
	p.t.Helper()
	<-time.After(d)
	synctest.Wait()
}

// takes is a run of so long.
func takes(d time.Duration, err error) func(context.Context, schedule.Fire) error {
	return func(ctx context.Context, _ schedule.Fire) error {
		select {
		case <-time.After(d):
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (p *plant) add(e schedule.Entry) {
	p.t.Helper()
	require.NoError(p.t, p.Set(e))
}

func at(t *testing.T, text string) *schedule.Cron {
	t.Helper()
	return parse(t, text, schedule.XO, "UTC")
}

func TestEntriesRunWhenDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlant(t)
		p.add(schedule.Entry{ID: "nightly", When: at(t, "0 3 * * *"), Run: takes(time.Hour, nil)})
		p.add(schedule.Entry{ID: "off", When: at(t, "* * * * *"), Run: takes(0, nil), Disabled: true})
		p.add(schedule.Entry{ID: "fails", When: at(t, "0 4 1 * *"), Run: takes(time.Minute, errors.New("full"))})
		p.run(40*time.Hour, func() {
			st := p.Status()
			require.Equal(t, start.Add(3*time.Hour), st[1].Next)
			require.True(t, st[2].Next.IsZero())
			p.wait(4 * time.Hour)
			require.True(t, p.Status()[0].Running)
			p.wait(time.Hour)
			require.EqualError(t, p.Status()[0].LastErr, "full")
			require.True(t, start.Add(4*time.Hour+time.Minute).Equal(p.Status()[0].Ended))
		})
		p.expect(
			"01 03:00:00 nightly starts, due 01 03:00",
			"01 04:00:00 fails starts, due 01 04:00",
			"01 04:00:00 nightly ends, due 01 03:00",
			"01 04:01:00 fails ends, due 01 04:00: full",
			"02 03:00:00 nightly starts, due 02 03:00",
			"02 04:00:00 nightly ends, due 02 03:00",
		)
	})
}

func TestARunThatIsDueWhileItsJobRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlant(t)
		p.add(schedule.Entry{ID: "a", Job: "j", When: at(t, "0 1 * * *"), Run: takes(90*time.Minute, nil)})
		p.add(schedule.Entry{ID: "skips", Job: "j", When: at(t, "0 2 * * *"), Run: takes(time.Minute, nil)})
		p.add(schedule.Entry{ID: "waits", Job: "j", When: at(t, "0,10 2 * * *"), Run: takes(time.Minute, nil), Overlap: schedule.Queue})
		p.add(schedule.Entry{ID: "j", When: at(t, "0 2 * * *"), Run: takes(time.Minute, nil)}) // is not of the job j
		p.run(3*time.Hour, func() {
			p.wait(2*time.Hour + time.Minute)
			require.True(t, p.Status()[3].Waiting)
		})
		p.expect(
			"01 01:00:00 a starts, due 01 01:00",
			"01 02:00:00 skips skipped, due 01 02:00: schedule: the job is running or waiting already",
			"01 02:00:00 j starts, due 01 02:00",
			"01 02:01:00 j ends, due 01 02:00",
			"01 02:10:00 waits skipped, due 01 02:10: schedule: the job is running or waiting already",
			"01 02:30:00 a ends, due 01 01:00",
			"01 02:30:00 waits starts, due 01 02:00",
			"01 02:31:00 waits ends, due 01 02:00",
		)
	})
}

func TestRunNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlant(t)
		require.ErrorIs(t, p.RunNow("a"), schedule.ErrUnknown)
		p.add(schedule.Entry{ID: "a", When: at(t, "0 3 * * *"), Run: takes(time.Minute, nil), Disabled: true})
		p.add(schedule.Entry{ID: "q", Job: "q", Run: takes(time.Minute, nil), Overlap: schedule.Queue})
		p.run(time.Hour, func() {
			require.ErrorIs(t, p.RunNow("b"), schedule.ErrUnknown)
			require.NoError(t, p.RunNow("a"))
			require.ErrorIs(t, p.RunNow("a"), schedule.ErrBusy)
			require.NoError(t, p.RunNow("q"))
			require.NoError(t, p.RunNow("q"))
			require.ErrorIs(t, p.RunNow("q"), schedule.ErrBusy)
			p.Remove("a")
			require.ErrorIs(t, p.RunNow("a"), schedule.ErrUnknown)
			require.ErrorIs(t, p.Run(t.Context()), schedule.ErrRunning)
		})
		require.Equal(t, []string{
			"01 00:00:00 a starts by hand", "01 00:00:00 q starts by hand", "01 00:01:00 a ends by hand",
			"01 00:01:00 q ends by hand", "01 00:01:00 q starts by hand", "01 00:02:00 q ends by hand",
		}, p.log())
	})
}

func TestMissedTimesAreMadeUpForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlant(t)
		entries := func() {
			p.add(schedule.Entry{ID: "day", When: at(t, "0 3 * * *"), Run: takes(0, nil), CatchUp: 24 * time.Hour})
			p.add(schedule.Entry{ID: "hour", When: at(t, "0 * * * *"), Run: takes(0, nil), CatchUp: 10 * time.Minute})
			p.add(schedule.Entry{ID: "xo", When: at(t, "0 3 * * *"), Run: takes(0, nil)})
		}
		entries()
		p.run(30*time.Minute, nil)
		p.expect()
		p.wait(3 * 24 * time.Hour)
		p.again()
		entries()
		p.run(time.Minute, nil) // the 4th, 00:30
		p.expect(
			"04 00:30:00 day missed, due 01 03:00",
			"04 00:30:00 hour missed, due 01 01:00",
			"04 00:30:00 xo missed, due 01 03:00",
			"04 00:30:00 day starts late, due 03 03:00",
			"04 00:30:00 day ends late, due 03 03:00",
		)
		p.run(time.Minute, nil)
		p.expect()
		p.wait(38 * time.Minute) // 01:10
		p.run(time.Minute, nil)
		p.expect("04 01:10:00 hour starts late, due 04 01:00", "04 01:10:00 hour ends late, due 04 01:00")
		p.wait(110*time.Minute - 30*time.Second) // a start just after is in time
		p.run(time.Minute, nil)
		require.Equal(t, []string{
			"04 03:00:30 day ends, due 04 03:00", "04 03:00:30 day starts, due 04 03:00",
			"04 03:00:30 hour ends, due 04 03:00", "04 03:00:30 hour missed, due 04 02:00", "04 03:00:30 hour starts, due 04 03:00",
			"04 03:00:30 xo ends, due 04 03:00", "04 03:00:30 xo starts, due 04 03:00",
		}, p.log())
	})
}

func TestAnEntryIsNotMissedBeforeItWasThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlant(t)
		e := schedule.Entry{ID: "a", When: at(t, "0 3 * * *"), Run: takes(0, nil), CatchUp: 1000 * time.Hour}
		p.wait(5 * time.Hour)
		p.add(e) // new
		p.run(time.Minute, nil)
		e.When = at(t, "0 4 * * *") // another time, also after a restart
		p.again()
		p.add(e)
		p.run(time.Minute, nil)
		e.When = parse(t, "0 4 * * *", schedule.XO, "Asia/Tokyo") // in another zone
		p.add(e)
		p.run(time.Minute, nil)
		p.expect()
		e.Disabled = true
		p.add(e)
		p.run(time.Minute, nil)
		p.wait(72 * time.Hour)
		e.Disabled = false // after a restart too
		p.again()
		p.add(e)
		p.run(time.Minute, nil)
		p.expect()
		p.run(72*time.Hour, func() {
			require.NoError(t, p.SetEnabled("a", false))
			require.ErrorIs(t, p.SetEnabled("b", false), schedule.ErrUnknown)
			p.wait(50 * time.Hour)
			require.NoError(t, p.SetEnabled("a", true))
			p.wait(time.Hour)
			p.expect()
		})
		require.Len(t, p.log(), 2)
		p.run(time.Minute, func() { p.Remove("a") })
		require.Empty(t, p.store.records)
	})
}

func TestClockJumps(t *testing.T) {
	const day = 24 * time.Hour
	for _, row := range []struct {
		name string
		jump time.Duration
		want []string // of what happens within 4 hours after 01:30
	}{
		{"none", 0, []string{"02:00:00 a starts, due 02:00", "03:00:00 a starts, due 03:00", "04:00:00 a starts, due 04:00", "05:00:00 a starts, due 05:00"}},
		{"an hour forward", time.Hour, []string{"02:30:30 a starts late, due 02:00", "03:00:00 a starts, due 03:00", "04:00:00 a starts, due 04:00", "05:00:00 a starts, due 05:00", "06:00:00 a starts, due 06:00"}},
		{"an hour back", -time.Hour, []string{"02:00:00 a starts, due 02:00", "03:00:00 a starts, due 03:00", "04:00:00 a starts, due 04:00"}},
		{"a month forward", 30 * day, []string{"01:30:30 a missed, due 02:00", "01:30:30 a starts late, due 01:00", "02:00:00 a starts, due 02:00", "03:00:00 a starts, due 03:00", "04:00:00 a starts, due 04:00", "05:00:00 a starts, due 05:00"}},
		{"eight hours asleep", 8 * time.Hour, []string{"09:30:30 a missed, due 02:00", "09:30:30 a starts late, due 09:00", "10:00:00 a starts, due 10:00", "11:00:00 a starts, due 11:00", "12:00:00 a starts, due 12:00", "13:00:00 a starts, due 13:00"}},
		{"a month back", -30 * day, []string{"01:30:30 a clock", "02:00:00 a starts, due 02:00", "03:00:00 a starts, due 03:00", "04:00:00 a starts, due 04:00", "05:00:00 a starts, due 05:00"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPlant(t)
				p.add(schedule.Entry{ID: "a", When: at(t, "0 * * * *"), Run: takes(0, nil), CatchUp: time.Hour})
				var got []string
				p.run(90*time.Minute+4*time.Hour, func() {
					p.wait(90 * time.Minute)
					p.expect("01 01:00:00 a starts, due 01 01:00", "01 01:00:00 a ends, due 01 01:00")
					p.turn(row.jump)
				})
				for i, e := range p.events {
					if e.Kind != schedule.EventEnded {
						line := p.times[i].Format("15:04:05 a") + []string{" starts", "", "", " missed", " clock"}[e.Kind] + []string{"", " late"}[e.Fire.Cause]
						if !e.Fire.Due.IsZero() {
							line += e.Fire.Due.Format(", due 15:04")
						}
						got = append(got, line)
					}
				}
				require.Empty(t, cmp.Diff(row.want, got))
			})
		})
	}
}

func TestANightOfTwentyThreeOrTwentyFiveHoursHasOneRun(t *testing.T) {
	for _, from := range []time.Time{time.Date(2027, 3, 26, 12, 0, 0, 0, time.UTC), time.Date(2027, 10, 29, 12, 0, 0, 0, time.UTC)} {
		synctest.Test(t, func(t *testing.T) {
			p := newPlant(t)
			p.turn(from.Sub(start))
			p.add(schedule.Entry{ID: "a", When: parse(t, "30 2 * * *", schedule.XO, "Europe/Paris"), Run: takes(time.Minute, nil)})
			p.run(96*time.Hour, nil)
			require.Len(t, p.log(), 2*4)
		})
	}
}

// However the clock is set, nothing runs twice for the same time, unless the time
// before was declared wrong; and a leap brings one run at most.
func TestClockJumpsBringNoStormAndNoTwins(t *testing.T) {
	g := randomJumps(5)
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			p := newPlant(t)
			p.add(schedule.Entry{ID: "a", When: at(t, "*/10 * * * *"), Run: takes(0, nil), CatchUp: time.Duration(g.IntN(3)) * time.Hour})
			ran := map[time.Time]bool{}
			p.run(48*time.Hour+time.Second, func() {
				for range 40 {
					p.wait(time.Duration(g.IntN(int(72 * time.Minute))))
					p.turn(g.jump())
					p.wait(40 * time.Second)
					runs := 0
					for _, e := range p.events {
						switch e.Kind {
						case schedule.EventStarted:
							require.False(t, ran[e.Fire.Due], "%v again", e.Fire)
							ran[e.Fire.Due] = true
							runs++
						case schedule.EventClock:
							clear(ran)
						case schedule.EventEnded, schedule.EventMissed:
						default:
							t.Fatalf("unexpected: %+v", e)
						}
					}
					require.LessOrEqual(t, runs, 10)
					p.log()
				}
			})
		})
	}
}

func TestWhatCannotBeSavedRunsAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlant(t)
		p.add(schedule.Entry{ID: "a", When: at(t, "0 1 * * *"), Run: func(context.Context, schedule.Fire) error {
			saved, err := p.store.Load(t.Context())
			require.True(t, err == nil && saved["a"].Handled.Equal(start.Add(time.Hour)), "saved before")
			p.store.fail(errors.New("disk full"))
			return nil
		}})
		p.add(schedule.Entry{ID: "b", When: at(t, "0 2 * * *"), Run: takes(0, nil)})
		p.run(2*time.Hour+70*time.Second, func() {
			p.wait(2*time.Hour + 40*time.Second)
			p.store.fail(nil)
		})
		p.expect(
			"01 01:00:00 a starts, due 01 01:00", "01 01:00:00 a ends, due 01 01:00",
			"01 02:00:00 unsaved: disk full", "01 02:00:00 b starts, due 01 02:00", "01 02:00:00 b ends, due 01 02:00",
			"01 02:00:30 unsaved: disk full",
		)
		require.Equal(t, start.Add(2*time.Hour), p.store.records["b"].Handled, "as soon as it can be")
		saves := p.store.saves
		p.run(time.Hour/2, nil)
		require.Equal(t, saves, p.store.saves, "nothing changed")

		p.store.fail(errors.New("gone"))
		err := p.Run(t.Context())
		require.ErrorContains(t, err, "gone")
	})
}

func TestStopWaitsForWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlant(t)
		p.Stop() // of what does not run
		p.add(schedule.Entry{ID: "long", When: at(t, "0 1 * * *"), Run: takes(5*time.Hour, nil), Job: "j"})
		p.add(schedule.Entry{ID: "waits", When: at(t, "0 2 * * *"), Run: takes(0, nil), Job: "j", Overlap: schedule.Queue})
		p.add(schedule.Entry{ID: "all", Sequence: []string{"one", "long"}})
		p.add(schedule.Entry{ID: "one", Run: takes(time.Hour, nil)})
		var done sync.WaitGroup
		err := errors.New("does not end")
		done.Go(func() { err = p.Run(t.Context()) })
		p.wait(2*time.Hour + time.Minute)
		require.NoError(t, p.RunNow("all"))
		p.wait(time.Minute)
		p.Stop()
		synctest.Wait()
		require.ErrorIs(t, p.RunNow("one"), schedule.ErrStopped)
		done.Wait()
		require.NoError(t, err)
		p.expect(
			"01 01:00:00 long starts, due 01 01:00",
			"01 02:01:00 all starts by hand",
			"01 02:01:00 one starts in all",
			"01 02:02:00 waits skipped, due 01 02:00: schedule: the scheduler stops",
			"01 03:01:00 one ends in all",
			"01 03:01:00 all ends by hand: sequence all: long: schedule: the scheduler stops",
			"01 06:00:00 long ends, due 01 01:00",
		)

		p.add(schedule.Entry{ID: "waits", When: at(t, "0 2 * * *"), Run: takes(0, nil), Job: "j", Overlap: schedule.Queue, CatchUp: 5 * time.Hour})
		p.run(time.Minute, nil) // what has waited in vain was missed
		p.expect("01 06:00:00 waits starts late, due 01 02:00", "01 06:00:00 waits ends late, due 01 02:00")

		require.NoError(t, p.RunNow("one")) // by the next Run
		ctx, cancel := context.WithCancelCause(t.Context())
		done.Go(func() { err = p.Run(ctx) })
		synctest.Wait()
		require.NoError(t, p.RunNow("long"))
		require.NoError(t, p.RunNow("waits"))
		p.wait(time.Minute)
		cancel(errors.New("enough"))
		done.Wait()
		require.EqualError(t, err, "enough")
		p.expect(
			"01 06:01:00 long starts by hand",
			"01 06:01:00 one starts by hand",
			"01 06:02:00 one ends by hand: enough",
			"01 06:02:00 long ends by hand: enough",
			"01 06:02:00 waits skipped by hand: schedule: the scheduler stops",
		)
	})
}

func TestSequences(t *testing.T) {
	errNone := errors.New("no VM matches")
	synctest.Test(t, func(t *testing.T) {
		p := newPlant(t)
		p.add(schedule.Entry{ID: "a", Job: "ja", When: at(t, "30 0 * * *"), Run: takes(time.Hour, nil)})
		p.add(schedule.Entry{ID: "none", Run: takes(time.Minute, errNone), Disabled: true})
		p.add(schedule.Entry{ID: "fails", Run: takes(time.Minute, errors.New("full"))})
		p.add(schedule.Entry{ID: "b", Run: takes(time.Minute, nil)})
		tolerate := func(err error) bool { return errors.Is(err, errNone) }
		p.add(schedule.Entry{ID: "seq", When: at(t, "0 1 * * *"), Sequence: []string{"none", "a", "b"}, Tolerate: tolerate})
		p.add(schedule.Entry{ID: "bad", When: at(t, "0 3 * * *"), Sequence: []string{"fails", "b"}, Tolerate: tolerate})
		p.add(schedule.Entry{ID: "nested", When: at(t, "30 3 * * *"), Sequence: []string{"bad"}})
		p.add(schedule.Entry{ID: "unknown", When: at(t, "40 3 * * *"), Sequence: []string{"b", "x"}})
		p.add(schedule.Entry{ID: "cut", When: at(t, "50 3 * * *"), Sequence: []string{"a"}})
		p.run(4*time.Hour, func() {
			p.wait(3*time.Hour + 45*time.Minute)
			require.NoError(t, p.RunNow("a"))
		})
		p.expect(
			"01 00:30:00 a starts, due 01 00:30",
			"01 01:00:00 seq starts, due 01 01:00",
			"01 01:00:00 none starts in seq",
			"01 01:01:00 none ends in seq: no VM matches",
			"01 01:30:00 a ends, due 01 00:30",
			"01 01:30:00 a starts in seq",
			"01 02:30:00 a ends in seq",
			"01 02:30:00 b starts in seq",
			"01 02:31:00 b ends in seq",
			"01 02:31:00 seq ends, due 01 01:00",
			"01 03:00:00 bad starts, due 01 03:00",
			"01 03:00:00 fails starts in bad",
			"01 03:01:00 fails ends in bad: full",
			"01 03:01:00 bad ends, due 01 03:00: sequence bad: fails: full",
			"01 03:30:00 nested starts, due 01 03:30",
			"01 03:30:00 nested ends, due 01 03:30: sequence nested: bad: schedule: a sequence within a sequence",
			"01 03:40:00 unknown starts, due 01 03:40",
			"01 03:40:00 b starts in unknown",
			"01 03:41:00 b ends in unknown",
			"01 03:41:00 unknown ends, due 01 03:40: sequence unknown: x: schedule: no such entry",
			"01 03:45:00 a starts by hand",
			"01 03:50:00 cut starts, due 01 03:50",
			"01 04:00:00 a ends by hand: context deadline exceeded",
			"01 04:00:00 cut ends, due 01 03:50: sequence cut: a: context deadline exceeded",
		)
		for _, st := range p.Status() {
			require.False(t, st.Running || st.Waiting, "%+v", st)
		}
	})
}

func TestEntriesAreChecked(t *testing.T) {
	run := takes(0, nil)
	s := schedule.NewScheduler(nil)
	for want, e := range map[string]schedule.Entry{
		"without an id":     {Run: run},
		"either Run":        {ID: "a"},
		"or a sequence":     {ID: "a", Run: run, Sequence: []string{"b"}},
		"no job of its own": {ID: "a", Job: "j", Sequence: []string{"b"}},
		"catch-up":          {ID: "a", Run: run, CatchUp: -1},
	} {
		require.ErrorContains(t, s.Set(e), want)
	}
	require.Empty(t, s.Status())
}

// everyMinute is a foreign timetable, without words.
type everyMinute struct{}

func (everyMinute) Next(t time.Time) time.Time { return t.Truncate(time.Minute).Add(time.Minute) }

func TestAThousandEntriesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := schedule.NewScheduler(nil)
		var mu sync.Mutex
		ran := map[string]int{}
		for i := range 1000 {
			require.NoError(t, s.Set(schedule.Entry{ID: fmt.Sprint(i), Job: fmt.Sprint(i % 100), When: everyMinute{}, Overlap: schedule.Queue, Run: func(_ context.Context, f schedule.Fire) error {
				mu.Lock()
				defer mu.Unlock()
				ran[f.Entry]++
				return nil
			}}))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute+time.Second)
		defer cancel()
		require.ErrorIs(t, s.Run(ctx), context.DeadlineExceeded)
		require.Len(t, ran, 1000)
		for id, n := range ran {
			require.Equal(t, 5, n, id)
		}
	})
}
