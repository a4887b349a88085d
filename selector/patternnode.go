package selector

// The conditions that only patterns have.

// scalar is true for the same string, number, boolean or null.
type scalar struct{ value any }

func (n scalar) eval(v any) truth {
	if _, is := v.(open); is {
		return maybe
	}
	switch want := n.value.(type) {
	case nil:
		return truthOf(v == nil)
	case string:
		got, ok := v.(string)
		return truthOf(ok && got == want)
	case bool:
		got, ok := v.(bool)
		return truthOf(ok && got == want)
	case float64:
		got, ok := number(v)
		return truthOf(ok && got == want)
	}
	return no
}

// elementsOf is true for a list in which each node fits some element.
type elementsOf []node

func (n elementsOf) eval(v any) truth {
	if _, is := v.(open); is {
		return maybe
	}
	list, ok := elements(v)
	if !ok {
		return no
	}
	for _, child := range n {
		if indexIn(list, child) < 0 {
			return no
		}
	}
	return yes
}

// indexIn is the first element that fits; below 0 there is none.
func indexIn(list []any, n node) int {
	for i, v := range list {
		if n.eval(v) == yes {
			return i
		}
	}
	return -1
}

// object is true for an object whose properties are there and fit.
type object []member

type member struct {
	key   string
	child node
}

func (n object) eval(v any) truth {
	if !isObject(v) {
		return no
	}
	all := yes
	for _, m := range n {
		p := property(v, m.key)
		if _, missing := p.(absent); missing {
			return no
		}
		if all = min(all, m.child.eval(p)); all == no {
			break
		}
	}
	if _, is := v.(open); is {
		return min(all, maybe)
	}
	return all
}
