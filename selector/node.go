package selector

// node is a condition. Its why is the reason for what eval found, as a clause about
// the value at the path.
type node interface {
	eval(v any) truth
	why(path string, v any) string
}

// allOf is true when each is; an empty one is.
type allOf []node

func (n allOf) eval(v any) truth {
	all := yes
	for _, child := range n {
		if all = min(all, child.eval(v)); all == no {
			break
		}
	}
	return all
}

// anyOf is true when one is; an empty one is not.
type anyOf struct {
	nodes []node
	// texts has those of nodes that are strings: lists of ids may be long.
	texts map[string]bool
}

func newAnyOf(nodes []node) *anyOf {
	n := &anyOf{nodes: nodes, texts: map[string]bool{}}
	for _, child := range nodes {
		if s, ok := child.(scalar); ok {
			if text, ok := s.value.(string); ok {
				n.texts[text] = true
			}
		}
	}
	return n
}

func (n *anyOf) eval(v any) truth {
	if text, ok := v.(string); ok && len(n.texts) == len(n.nodes) {
		return truthOf(n.texts[text])
	}
	found := no
	for _, child := range n.nodes {
		if found = max(found, child.eval(v)); found == yes {
			break
		}
	}
	return found
}

// inverse is true when its node is not.
type inverse struct{ node }

func (n inverse) eval(v any) truth { return n.node.eval(v).not() }
