package remote

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "***"

// Secret is a password: text that prints as *** however it is formatted, logged
// or marshalled. Convert it to a string where the value itself is needed.
type Secret string

// String returns ***, never the value.
func (Secret) String() string { return redacted }

// GoString returns ***, so that %#v of a struct that holds a Secret is safe too.
func (Secret) GoString() string { return redacted }

// Format prints *** under every verb, %x and %q included.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue makes slog print ***.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText makes encoders write ***: a Secret does not survive a round trip,
// on purpose.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
