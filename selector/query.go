package selector

// Query is a condition in the query language of Xen Orchestra's search fields
// (its complex-matcher). It is immutable.
type Query struct {
	text string
	root node
}

// Match reports whether the value fits; see [Pattern.Match] for what it may be.
func (q *Query) Match(value any) bool { return q.root.eval(value) == yes }

// String is the query in its plain form: parsed again, it is the same.
func (q *Query) String() string { return queryText(q.root, false) }

// MarshalText gives the query as it was parsed.
func (q *Query) MarshalText() ([]byte, error) { return []byte(q.text), nil }

// UnmarshalText is [ParseQuery].
func (q *Query) UnmarshalText(text []byte) error {
	parsed, err := ParseQuery(string(text))
	if err != nil {
		return err
	}
	*q = *parsed
	return nil
}
