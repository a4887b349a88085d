package xapitest

import (
	"context"
	"crypto/subtle"
	"time"
)

func (p *Pool) sessionMethods() map[string]*method {
	return map[string]*method{
		"session.login_with_password": anonymous("uname:string pwd:string version:string? originator:string?", p.login),
		"session.logout": syncOnly("", func(_ context.Context, c *call) (any, error) {
			return nil, p.destroyObject("session", c.session)
		}),
	}
}

// login checks the password. A real host answers a wrong one after 5 seconds;
// here Options.AuthDelay says how long it takes.
func (p *Pool) login(ctx context.Context, c *call) (any, error) {
	user, password := c.str(0), c.str(1)
	if !equalSecrets(user, p.Username()) || !equalSecrets(password, p.Password()) {
		if err := wait(ctx, p.options.AuthDelay); err != nil {
			return nil, err
		}
		return nil, fail("SESSION_AUTHENTICATION_FAILED", user, "Authentication failure")
	}
	return p.createSession(user, c.str(3)), nil
}

func (p *Pool) createSession(user, originator string) (ref string) {
	_ = p.db.update(func(tx tx) error { // creates, cannot fail
		ref = tx.create("session", record{
			"this_host": p.master, "last_active": now(), "validation_time": now(), "is_local_superuser": true,
			"auth_user_name": user, "originator": originator,
		})
		return nil
	})
	return ref
}

// touchSession fails with SESSION_INVALID unless the session is alive.
func (p *Pool) touchSession(ref string) error {
	if _, err := p.db.record("session", ref); err != nil {
		return fail("SESSION_INVALID", ref)
	}
	return nil
}

// ExpireSessions ends all sessions, as a restart of the toolstack or 24 idle
// hours do: the next call of a client fails with SESSION_INVALID, and calls of
// event.from that wait for something end with it.
func (p *Pool) ExpireSessions() {
	_ = p.db.update(func(tx tx) error {
		for ref := range tx.all("session") {
			_ = tx.destroy("session", ref) // it exists
		}
		return nil
	})
}

// destroyObject removes an object that has nothing but its record.
func (p *Pool) destroyObject(class, ref string) error {
	return p.db.update(func(tx tx) error { return tx.destroy(class, ref) })
}

func equalSecrets(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// now returns the present in the form of the API: UTC, whole seconds.
func now() string { return time.Now().UTC().Format("20060102T15:04:05Z") }

// wait waits, or fails when ctx ends before.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
