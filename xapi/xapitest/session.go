package xapitest

import (
	"cmp"
	"context"
	"crypto/subtle"
	"slices"
	"strings"
	"time"
)

// How a real pool limits sessions.
const (
	maxSessions          = 500 // of one originator, or of one user who is not root
	maxAnonymousSessions = 400 // of root without an originator
	sessionLife          = 24 * time.Hour
	touchPause           = 10 * time.Minute // last_active is not written more often
)

// User may log in besides Options.Username.
type User struct {
	Name, Password string
	// ReadOnly is the role Read Only: what changes something fails with
	// RBAC_PERMISSION_DENIED, and a transfer with 403.
	ReadOnly bool
}

func (p *Pool) sessionMethods() map[string]*method {
	return map[string]*method{
		"session.login_with_password": anonymous("uname:string pwd:string version:string? originator:string?", p.login),
		"session.logout": syncOnly("", func(_ context.Context, c *call) (any, error) {
			return nil, p.destroyObject("session", c.session)
		}),
	}
}

// user returns who may log in with that name and password. Options.Username is
// the superuser.
func (p *Pool) user(name, password string) (u User, super, ok bool) {
	all := append([]User{{Name: p.Username(), Password: p.Password()}}, p.options.Users...)
	for i, one := range all {
		if equalSecrets(one.Name, name) && equalSecrets(one.Password, password) {
			return one, i == 0, true
		}
	}
	return User{}, false, false
}

// login checks the password. A real host answers a wrong one after 5 seconds;
// here Options.AuthDelay says how long it takes.
func (p *Pool) login(ctx context.Context, c *call) (any, error) {
	name := c.str(0)
	user, super, ok := p.user(name, c.str(1))
	if !ok {
		if err := wait(ctx, p.options.AuthDelay); err != nil {
			return nil, err
		}
		return nil, fail("SESSION_AUTHENTICATION_FAILED", name, "Authentication failure")
	}
	return p.createSession(user, super, c.str(3)), nil
}

// readOnlyRole is what the session of a read-only user may do.
const readOnlyRole = "read-only"

func (p *Pool) createSession(user User, super bool, originator string) (ref string) {
	values := record{
		"this_host": p.masterRef(), "last_active": p.now(), "validation_time": p.now(), "is_local_superuser": super,
		"auth_user_name": user.Name, "originator": originator,
	}
	if user.ReadOnly {
		values["rbac_permissions"] = []string{readOnlyRole}
	}
	_ = p.db.update(func(tx tx) error { // creates, cannot fail
		tx.limitSessions(values)
		ref = tx.create("session", values)
		return nil
	})
	return ref
}

// limitSessions makes room for one more session of the same kind: those that
// have been idle for longest go.
func (t tx) limitSessions(next record) {
	limit, same := maxSessions, func(r record) bool { return r.str("auth_user_name") == next.str("auth_user_name") }
	if next.bool("is_local_superuser") {
		same = func(r record) bool {
			return r.bool("is_local_superuser") && r.str("originator") == next.str("originator")
		}
		if next.str("originator") == "" {
			limit = maxAnonymousSessions
		}
	}
	var rows []*row
	for _, r := range t.db.tables["session"].rows {
		if same(r.record) {
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(a, b *row) int {
		return cmp.Or(strings.Compare(a.record.str("last_active"), b.record.str("last_active")), cmp.Compare(a.created, b.created))
	})
	for len(rows) >= limit {
		_ = t.destroy("session", rows[0].ref) // it exists
		rows = rows[1:]
	}
}

// touchSession fails with SESSION_INVALID unless the session is alive, and notes
// that it is used.
func (p *Pool) touchSession(ref string) error {
	rec, err := p.db.record("session", ref)
	if err != nil {
		return fail("SESSION_INVALID", ref)
	}
	if p.time().Sub(parseTime(rec.str("last_active"))) >= touchPause {
		_ = p.db.set("session", ref, record{"last_active": p.now()}) // it may have ended just now
	}
	return nil
}

// permit fails with RBAC_PERMISSION_DENIED when a read-only session is to change
// something.
func (p *Pool) permit(session string, m *method, name string) error {
	class, message, _ := strings.Cut(name, ".")
	if m.async || !strings.HasPrefix(message, "get_") && class != "session" && class != "event" && class != "task" {
		return p.permitChange(session, name)
	}
	return nil
}

func (p *Pool) permitChange(session, name string) error {
	if rec, err := p.db.record("session", session); err == nil && slices.Contains(rec.set("rbac_permissions"), readOnlyRole) {
		return fail("RBAC_PERMISSION_DENIED", strings.ToLower(name), "No permission in user session")
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
