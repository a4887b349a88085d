package selector

import "encoding/json"

// Smart is what Xen Orchestra's form for smart mode asks: each field that is set is
// a condition. Its pattern is the one that the form would store, which can only ask
// for one of the tags; AllTags and Hosts go beyond it.
type Smart struct {
	PowerState string   // "Running" or "Halted"; "" is all
	Pools      []string // in one of these
	NotPools   []string // in none of these
	Hosts      []string // running on one of these
	AnyTags    []string // tagged with one of these
	AllTags    []string // tagged with all of these
	NoTags     []string // tagged with none of these; the form suggests TagReplica and TagRecovery
}

// Pattern is that of the conditions.
func (s Smart) Pattern() (*Pattern, error) {
	tags := conditions(listsOf(s.AnyTags), listsOf(s.NoTags))
	if len(s.AllTags) > 0 {
		tags = append(tags, s.AllTags)
	}
	text, err := json.Marshal(struct {
		Type       string `json:"type"`
		PowerState string `json:"power_state,omitempty"`
		Pool       any    `json:"$pool,omitempty"`
		Container  any    `json:"$container,omitempty"`
		Tags       any    `json:"tags,omitempty"`
	}{"VM", s.PowerState, together(conditions(anys(s.Pools), anys(s.NotPools))), together(conditions(anys(s.Hosts), nil)), together(tags)})
	if err != nil {
		return nil, err
	}
	return ParsePattern(text)
}

// conditions are to be one of some, and none of others.
func conditions(some, others []any) []any {
	var all []any
	if len(some) > 0 {
		all = append(all, map[string]any{"__or": some})
	}
	if len(others) > 0 {
		all = append(all, map[string]any{"__not": map[string]any{"__or": others}})
	}
	return all
}

// together asks for all; nil when there are none.
func together(all []any) any {
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	return map[string]any{"__and": all}
}

func anys(texts []string) []any {
	list := make([]any, len(texts))
	for i, text := range texts {
		list[i] = text
	}
	return list
}

// listsOf makes a pattern for lists of each: one that has it.
func listsOf(texts []string) []any {
	list := make([]any, len(texts))
	for i, text := range texts {
		list[i] = []string{text}
	}
	return list
}
