package xapi

// NullRef is the text of the reference that points at nothing.
const NullRef = "OpaqueRef:NULL"

// A Ref names one object of class T within one pool: `OpaqueRef:` and a UUID on today's servers, but treat it as opaque. The type
// keeps a Ref[VM] from being passed where a Ref[VDI] is meant. References are not stable beyond the life of the pool's database:
// store UUIDs instead.
type Ref[T any] string

// IsNull reports whether r points at nothing: the zero Ref, or what the pool sends for it.
func (r Ref[T]) IsNull() bool { return r == "" || r == NullRef }

// MarshalText writes the zero Ref as the pool wants it, [NullRef].
func (r Ref[T]) MarshalText() ([]byte, error) {
	if r == "" {
		return []byte(NullRef), nil
	}
	return []byte(r), nil
}

// Object stands for the classes that have no record type here, as in Ref[Object].
type Object struct{}
