package xapitest

import "context"

// Idle lets a transfer pass nothing for a while once after bytes of its body have
// passed, as the compressed export of an empty disk does: until somebody has read
// the record of its task looks times. Each time the task has progressed. Then the
// transfer goes on.
func (p *Pool) Idle(request string, when When, after int64, looks int) {
	p.faults.add(&fault{method: request, when: when, after: after, looks: looks})
}

// idle passes nothing until the task was looked at often enough.
func (t *transfer) idle(ctx context.Context) error {
	if t.idled || t.fault == nil || t.fault.looks == 0 || t.moved < t.fault.after {
		return nil
	}
	t.idled = true
	seen := make(chan struct{}, 1)
	t.pool.mu.Lock()
	t.pool.idling[t.task] = seen
	t.pool.mu.Unlock()
	defer func() {
		t.pool.mu.Lock()
		defer t.pool.mu.Unlock()
		delete(t.pool.idling, t.task)
	}()
	progress := 0.0
	if task, err := t.pool.db.record("task", t.task); err == nil {
		progress, _ = task["progress"].(float64)
	}
	for range t.fault.looks {
		progress += (1 - progress) / 1024
		t.pool.setProgress(t.task, progress)
		select {
		case <-seen:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// looked lets a transfer that idles know that somebody has read its task.
func (p *Pool) looked(method string, args []any) {
	if method != "task.get_record" || len(args) == 0 {
		return
	}
	task, _ := args[0].(string)
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case p.idling[task] <- struct{}{}:
	default: // nobody idles, or will know of an earlier look
	}
}
