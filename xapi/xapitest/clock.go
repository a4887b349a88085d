package xapitest

import "time"

// How long a real pool keeps tasks, and how often it looks through what is old.
const (
	taskLife    = 65 * time.Minute // after the end
	pendingLife = 24 * time.Hour   // without progress
	sweepPause  = 30 * time.Second
)

// timeFormat is the form of dates in the API: UTC, whole seconds.
const timeFormat = "20060102T15:04:05Z"

// now returns the present in the form of the API.
func now() string { return time.Now().UTC().Format(timeFormat) }

// time returns the present by the clock of the options.
func (p *Pool) time() time.Time {
	if p.options.Now == nil {
		return time.Now()
	}
	return p.options.Now()
}

func (p *Pool) now() string { return p.time().UTC().Format(timeFormat) }

// parseTime reads a date that the pool has written.
func parseTime(s string) time.Time {
	t, _ := time.Parse(timeFormat, s)
	return t
}

// sweep forgets sessions that have been idle for a day and tasks that are over
// or stuck for long. A real pool does it every 30 seconds; here the first call
// after so long finds it done.
func (p *Pool) sweep() {
	present := p.time()
	p.mu.Lock()
	due := present.Sub(p.swept) >= sweepPause || present.Before(p.swept)
	if due {
		p.swept = present
	}
	p.mu.Unlock()
	if !due {
		return
	}
	_ = p.db.update(func(tx tx) error {
		for ref, s := range tx.all("session") {
			if present.Sub(parseTime(s.str("last_active"))) > sessionLife {
				_ = tx.destroy("session", ref) // it exists
			}
		}
		for ref, r := range tx.db.tables["task"].rows {
			if p.outlived(present, ref, r.record) {
				_ = tx.destroy("task", ref) // it exists
			}
		}
		return nil
	})
}

// outlived says that a task is to be forgotten. One that something works on is
// never.
func (p *Pool) outlived(present time.Time, ref string, task record) bool {
	if task.str("status") != "pending" {
		return present.Sub(parseTime(task.str("finished"))) > taskLife
	}
	p.mu.Lock()
	_, running := p.running[ref]
	p.mu.Unlock()
	return !running && present.Sub(parseTime(task.str("created"))) > pendingLife
}
