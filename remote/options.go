package remote

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// DefaultTimeout is what Options.Timeout of 0 means.
const DefaultTimeout = 60 * time.Second

// Options are what a URL does not say. Each back end takes what concerns it.
type Options struct {
	// Create makes the directory, and those above it, when it does not exist.
	// Without it a missing directory is fs.ErrNotExist: it may well be a mount
	// that is not there, which must not be filled. Shares and exports are never
	// made.
	Create bool

	// ID is the identity that [Identify] has given for this storage once. Then
	// [Opener.Open] refuses any other, and an empty mount point, as
	// [ErrOtherStorage]. Empty asks nothing.
	ID string

	// Username, Password and Domain log in to a share. What is empty here is
	// taken from the URL, and then from the environment: see [ParseAddress].
	Username string
	Password Secret
	Domain   string

	// Timeout is how long a server may stay silent while it owes an answer. Then
	// the connection is given up, what waits for it fails with [ErrUnavailable]
	// or goes on over a new one, as the back end says. It bounds connecting too.
	// 0 is [DefaultTimeout]. It does not concern local disks.
	Timeout time.Duration
	// DialContext makes the connections to servers. nil dials by TCP.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// Logger is told of changes of state: connections lost and made again,
	// leavings repaired. It never sees a password. nil discards.
	Logger *slog.Logger
}

// SilenceLimit is the Timeout that holds: DefaultTimeout for 0.
func (o *Options) SilenceLimit() time.Duration {
	if o == nil || o.Timeout <= 0 {
		return DefaultTimeout
	}
	return o.Timeout
}

// Log is the Logger that holds, never nil.
func (o *Options) Log() *slog.Logger {
	if o == nil || o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger
}

// Dial makes a connection with DialContext, or by TCP, within Timeout. A failure
// is an [UnreachableError] about the host that is [ErrUnavailable].
func (o *Options) Dial(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, o.SilenceLimit())
	defer cancel()
	dial := (&net.Dialer{}).DialContext
	if o != nil && o.DialContext != nil {
		dial = o.DialContext
	}
	conn, err := dial(ctx, "tcp", address)
	if err != nil {
		return nil, &UnreachableError{Part: PartHost, Name: address, Err: fmt.Errorf("%w: %w", ErrUnavailable, err)}
	}
	return conn, nil
}
