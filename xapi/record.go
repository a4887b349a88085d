package xapi

import (
	"reflect"
	"strings"
	"sync"
)

// Record is satisfied by the pointers to the record types of this package: the classes that [Get], [ByUUID] and [All] can ask for.
type Record[T any] interface {
	*T
	classed
}

// classed knows its class as the pool spells it: VM, but host.
type classed interface {
	class() string
}

// layout is what decoding and encoding need to know of one record type.
type layout struct {
	fields []layoutField // in the order of the struct
	byName map[string]int
}

type layoutField struct {
	name string
	at   int // index in the struct
	form form
}

// form is how a field travels.
type form uint8

const (
	formOther form = iota // through encoding/json
	formText              // a string type without a decoding of its own: string, Ref
	formBool
	formInt
	formFloat
	formTexts // a slice of formText
	formDict  // map[string]string
)

// layouts knows the record types of this package.
var layouts = sync.OnceValue(func() map[reflect.Type]*layout {
	known := make(map[reflect.Type]*layout)
	for _, record := range []classed{
		Session{},
		Pool{},
		Host{},
		VM{},
		VMMetrics{},
		VMGuestMetrics{},
		VBD{},
		VDI{},
		SR{},
		PBD{},
		VIF{},
		PIF{},
		Network{},
		Task{},
		VTPM{},
		VGPU{},
		VUSB{},
		Message{},
	} {
		known[reflect.TypeOf(record)] = newLayout(reflect.TypeOf(record))
	}
	return known
})

// layoutOf takes the type of a record, not of a pointer to one.
func layoutOf(t reflect.Type) *layout {
	if l := layouts()[t]; l != nil {
		return l
	}
	return newLayout(t)
}

func newLayout(t reflect.Type) *layout {
	l := &layout{byName: make(map[string]int, t.NumField())}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		l.byName[name] = len(l.fields)
		l.fields = append(l.fields, layoutField{name: name, at: i, form: formOf(t.Field(i).Type)})
	}
	return l
}

func formOf(t reflect.Type) form {
	switch t.Kind() {
	case reflect.String:
		if t != reflect.TypeFor[Time]() { // which may be a number
			return formText
		}
	case reflect.Bool:
		return formBool
	case reflect.Int64:
		return formInt
	case reflect.Float64:
		return formFloat
	case reflect.Slice:
		if formOf(t.Elem()) == formText {
			return formTexts
		}
	case reflect.Map:
		if t == reflect.TypeFor[map[string]string]() {
			return formDict
		}
	default:
	}
	return formOther
}
