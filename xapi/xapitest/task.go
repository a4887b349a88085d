package xapitest

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
)

// errCancelled is the cause with which task.cancel ends the work of a task.
var errCancelled = errors.New("xapitest: task cancelled")

// maxFinishedTasks is how many finished tasks a real pool keeps.
const maxFinishedTasks = 200

func (p *Pool) taskMethods() map[string]*method {
	return map[string]*method{
		"task.create": syncOnly("label:string description:string", func(_ context.Context, c *call) (any, error) {
			return p.createTask(c.str(0), c.str(1)), nil
		}),
		"task.cancel": both("task:ref", func(_ context.Context, c *call) (any, error) {
			return nil, p.cancelTask(c.str(0))
		}),
		"task.destroy": syncOnly("self:ref", func(_ context.Context, c *call) (any, error) {
			return nil, p.destroyTask(c.str(0))
		}),
		"task.set_status": syncOnly("self:ref value:string", func(_ context.Context, c *call) (any, error) {
			return nil, p.setTaskStatus(c.str(0), c.str(1))
		}),
	}
}

func (p *Pool) createTask(label, description string) (ref string) {
	_ = p.db.update(func(tx tx) error { // creates, cannot fail
		ref = tx.create("task", record{
			"name_label": label, "name_description": description, "created": p.now(), "status": "pending",
			"resident_on": p.masterRef(), "type": "<none/>", "allowed_operations": []string{"cancel", "destroy"},
		})
		return nil
	})
	return ref
}

// running is the work of a task while it is under way.
type running struct {
	cancel    context.CancelCauseFunc
	cancelled bool          // task.cancel has asked it to end
	wedged    bool          // it will not end by being cancelled
	ended     chan struct{} // closed when the task is complete
}

// runTask does the work of a pending task under a context that task.cancel
// ends, and completes the task with its outcome.
func (p *Pool) runTask(ctx context.Context, ref string, work func(ctx context.Context) (string, error)) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	run := &running{cancel: cancel, ended: make(chan struct{})}
	defer close(run.ended)
	p.mu.Lock()
	p.running[ref] = run
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.running, ref)
		p.mu.Unlock()
	}()
	result, err := work(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errCancelled) {
		err = errCancelled
	}
	p.completeTask(ref, result, err)
}

// completeTask ends a pending task. A cancelled one has no error_info.
func (p *Pool) completeTask(ref, result string, err error) {
	outcome := record{
		"progress": 1.0, "finished": p.now(), "result": result, "status": "success",
		"allowed_operations": []string{"destroy"},
	}
	if err != nil {
		p.log.Info("task failed", slog.String("task", ref), slog.Any("error", err))
		f, _ := errors.AsType[*failure](asFailure(err))
		outcome["result"] = ""
		outcome["status"] = "failure"
		outcome["error_info"] = append([]string{f.code}, f.params...)
		if f.code == "TASK_CANCELLED" {
			outcome["status"] = "cancelled"
			outcome["error_info"] = []string{}
		}
	}
	_ = p.db.update(func(tx tx) error {
		rec, err := tx.record("task", ref)
		if err != nil || rec.str("status") != "pending" {
			return err
		}
		outcome["current_operations"] = map[string]string{}
		if doomed(rec) {
			return tx.destroy("task", ref)
		}
		err = tx.set("task", ref, outcome)
		tx.forgetTasks()
		return err
	})
}

// doomed says that task.destroy was called while the task was pending.
func doomed(task record) bool {
	return slices.Contains(slices.Collect(maps.Values(task.dict("current_operations"))), "destroy")
}

// forgetTasks removes the oldest finished tasks beyond those that are kept.
func (t tx) forgetTasks() {
	var finished []string
	for e := t.db.tables["task"].order.Back(); e != nil; e = e.Prev() {
		if r, ok := e.Value.(*row); ok && r.record.str("status") != "pending" {
			finished = append(finished, r.ref)
		}
	}
	for len(finished) > maxFinishedTasks {
		_ = t.destroy("task", finished[len(finished)-1]) // it exists
		finished = finished[:len(finished)-1]
	}
}

// setProgress tells how far a task is, from 0 to 1.
func (p *Pool) setProgress(ref string, progress float64) {
	_ = p.db.set("task", ref, record{"progress": progress}) // the task may be gone
}

// cancelTask asks the work of a task to end. The status stays pending until it
// has; a task that a client made and nothing works on stays pending for ever.
func (p *Pool) cancelTask(ref string) error {
	err := p.db.update(func(tx tx) error {
		rec, err := tx.record("task", ref)
		if err != nil {
			return err
		}
		if rec.str("status") != "pending" {
			return nil
		}
		return tx.set("task", ref, record{"current_operations": put(rec.dict("current_operations"), "cancel-"+ref, "cancel")})
	})
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if run, ok := p.running[ref]; ok {
		run.cancelled = true
		run.cancel(errCancelled)
	}
	return nil
}

// settle waits until the work of all cancelled tasks has ended.
func (p *Pool) settle() {
	p.mu.Lock()
	var ending []*running
	for _, run := range p.running {
		if run.cancelled && !run.wedged {
			ending = append(ending, run)
		}
	}
	p.mu.Unlock()
	for _, run := range ending {
		<-run.ended
	}
}

// destroyTask removes a finished task. A pending one is marked, and removed
// when it is done.
func (p *Pool) destroyTask(ref string) error {
	return p.db.update(func(tx tx) error {
		rec, err := tx.record("task", ref)
		if err != nil {
			return err
		}
		if rec.str("status") != "pending" {
			return tx.destroy("task", ref)
		}
		return tx.set("task", ref, record{"current_operations": put(rec.dict("current_operations"), "destroy-"+ref, "destroy")})
	})
}

// setTaskStatus is how a client completes a task of its own.
func (p *Pool) setTaskStatus(ref, status string) error {
	return p.db.update(func(tx tx) error {
		rec, err := tx.record("task", ref)
		if err != nil {
			return err
		}
		if rec.str("status") != "pending" {
			return fail("OPERATION_NOT_ALLOWED", "task already completed")
		}
		values := record{"status": status}
		if status != "pending" {
			values["finished"] = p.now()
			values["allowed_operations"] = []string{"destroy"}
		}
		return tx.set("task", ref, values)
	})
}
