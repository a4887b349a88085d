package xapitest

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"strings"
	"syscall"
)

func itoa(n int) string { return strconv.Itoa(n) }

// dispatch runs one RPC. The result is a value of the database's types, or nil
// for void; the error is a *failure as the caller of the API shall see it.
// Any other error means that no answer goes out.
func (p *Pool) dispatch(ctx context.Context, in *incoming, name string, args []any) (any, error) {
	p.sweep()
	base, async := strings.CutPrefix(name, "Async.")
	m := p.method(base)
	if m == nil || (async && !m.async) {
		p.record(name, args)
		return nil, fail("MESSAGE_METHOD_UNKNOWN", name)
	}
	c := &call{name: base}
	if !m.open {
		if len(args) == 0 {
			p.record(name, nil)
			return nil, fail("MESSAGE_PARAMETER_COUNT_MISMATCH", name, itoa(len(m.params)), "0")
		}
		c.session, _ = args[0].(string)
		args = args[1:]
	}
	p.record(name, args)
	p.looked(base, args)
	if in.host != p.masterRef() && base != "system.listMethods" {
		return nil, p.hostIsSlave()
	}
	if !m.open {
		if err := p.touchSession(c.session); err != nil {
			return nil, err
		}
		if err := p.permit(c.session, m, base); err != nil {
			return nil, err
		}
	}
	fault := p.takeCall(base, !m.open)
	if err := p.disturb(in, c, fault); err != nil {
		return nil, err
	}
	if async {
		return p.startAsync(ctx, m, c, args, fault)
	}
	return p.runMethod(ctx, m, c, args, fault)
}

// runMethod checks the arguments of a call and runs it, or the fault that was
// scripted for it.
func (p *Pool) runMethod(ctx context.Context, m *method, c *call, args []any, fault *fault) (any, error) {
	if fault != nil {
		if err := p.strike(ctx, c.task, fault); err != nil {
			return nil, asFailure(err)
		}
	}
	bound, err := m.bind(c.name, args)
	if err != nil {
		return nil, err
	}
	c.args = bound
	value, err := m.run(ctx, c)
	if err != nil {
		return nil, asFailure(err)
	}
	return value, nil
}

// startAsync starts the call in the background and returns its task.
func (p *Pool) startAsync(ctx context.Context, m *method, c *call, args []any, fault *fault) (any, error) {
	c.task = p.createTask("Async."+c.name, "")
	p.work.Go(func() {
		p.runTask(ctx, c.task, func(ctx context.Context) (string, error) {
			value, err := p.runMethod(ctx, m, c, args, fault)
			if err != nil {
				return "", err
			}
			return xmlText(value)
		})
	})
	return c.task, nil
}

// asFailure gives every error the form of the API: what is not a failure
// already is an INTERNAL_ERROR, a cancelled context TASK_CANCELLED, a full disk
// below the pool a full repository.
func asFailure(err error) error {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, errCancelled) {
		return fail("TASK_CANCELLED", null)
	}
	if errors.Is(err, syscall.ENOSPC) {
		return fail("SR_BACKEND_FAILURE_44", "", "There is insufficient space", "")
	}
	return fail("INTERNAL_ERROR", err.Error())
}

// method finds the implementation of a message: one of its own, or what every
// field and class has.
func (p *Pool) method(name string) *method {
	if m, ok := p.methods[name]; ok {
		return m
	}
	return p.generic(name)
}

// methodTable collects the messages with an implementation of their own.
func (p *Pool) methodTable() map[string]*method {
	all := make(map[string]*method)
	for _, part := range []map[string]*method{
		p.sessionMethods(), p.taskMethods(), p.eventMethods(), p.queueMethods(), p.hostMethods(),
		p.vmMethods(), p.powerMethods(), p.vdiMethods(), p.deviceMethods(), p.vtpmMethods(),
	} {
		maps.Copy(all, part)
	}
	all["system.listMethods"] = p.listMethods(all)
	return all
}
