package xapitest

import (
	_ "embed" // the table of classes and fields
	"fmt"
	"strconv"
	"strings"
	"sync"
)

//go:embed datamodel.txt
var datamodel string

// kind is the type of a field, as far as the wire and the database care.
type kind uint8

const (
	kindString kind = iota // string, enum, secret
	kindRef
	kindDatetime
	kindInt
	kindFloat
	kindBool
	kindSet      // []string: set of string, enum or ref
	kindIntSet   // []int64
	kindMap      // map[string]string
	kindIntMap   // map[string]int64
	kindFloatMap // map[string]float64
)

// null is the reference to nothing; epoch is the date that means "never".
const (
	null  = "OpaqueRef:NULL"
	epoch = "19700101T00:00:00Z"
)

// field is one field of a class, under its name on the wire.
type field struct {
	name        string
	kind        kind
	constructor bool // may be given to create
	writable    bool // has a public setter
	zero        any
}

// class is one class of the data model, with its fields in the model's order.
type class struct {
	name   string
	events bool // its objects appear in event.from
	fields []*field
	byName map[string]*field
	zero   record // every field at its default
}

// schema returns all classes by name. They are shared and never change.
var schema = sync.OnceValue(func() map[string]*class {
	classes := make(map[string]*class)
	var current *class
	for line := range strings.Lines(datamodel) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0] == "#":
		case words[0] == "class":
			current = &class{name: words[1], events: len(words) > 2, byName: make(map[string]*field), zero: make(record)}
			classes[current.name] = current
		default:
			f := parseField(words)
			current.fields = append(current.fields, f)
			current.byName[f.name] = f
			current.zero[f.name] = f.zero
		}
	}
	return classes
})

// parseField reads "name qualifier type [type argument] [= default]".
func parseField(words []string) *field {
	left, value, _ := strings.Cut(strings.Join(words[2:], " "), " = ")
	f := &field{
		name:        words[0],
		constructor: words[1] != "RO",
		writable:    words[1] == "RW",
	}
	f.kind, f.zero = kindAndZero(left, value)
	return f
}

func kindAndZero(typ, value string) (kind, any) {
	switch typ {
	case "string":
		return kindString, value
	case "ref":
		return kindRef, null
	case "datetime":
		return kindDatetime, epoch
	case "int":
		n, _ := strconv.ParseInt(value, 10, 64)
		return kindInt, n
	case "float":
		x, _ := strconv.ParseFloat(value, 64)
		return kindFloat, x
	case "bool":
		return kindBool, false
	case "set string", "set ref":
		return kindSet, []string{}
	case "set int":
		return kindIntSet, []int64{}
	case "map string", "map set":
		return kindMap, map[string]string{}
	case "map int":
		return kindIntMap, map[string]int64{}
	case "map float":
		return kindFloatMap, map[string]float64{}
	}
	panic(fmt.Sprintf("xapitest: datamodel.txt: unknown type %q", typ))
}
