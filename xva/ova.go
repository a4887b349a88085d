package xva

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"strconv"

	"github.com/xenbackup/xenbackup/internal/xmlvalue"
)

// OVA is the content of ova.xml: the objects of a VM as they were when it was exported. Values are map[string]any, []any, string,
// bool, float64, [DateTime], int64; integers usually are strings of digits, because XML as hosts write it does not tell.
// What a newer host added is kept in Extra.
type OVA struct {
	Version Version
	Objects []Object
	Extra   map[string]any // further members beside version and objects
}

// Version says who wrote an archive. A pool refuses archives whose (XapiMajor, XapiMinor) is higher than its own.
type Version struct {
	Hostname       string
	Date           string
	ProductVersion string
	ProductBrand   string
	BuildNumber    string
	XapiMajor      int64
	XapiMinor      int64
	ExportVSN      int64 // 2: each chunk has its checksum beside it, and there is no table at the end
	Extra          map[string]any
}

// Object is one record. References in it are ids of other objects, or OpaqueRef:NULL.
type Object struct {
	Class    string // host, VM, VM_metrics, VM_guest_metrics, VBD, VIF, network, VDI, SR, VGPU, VTPM, …
	ID       string // Ref:<number>, unique in the archive
	Snapshot map[string]any
	Extra    map[string]any // further members beside class, id and snapshot
}

// DateTime is a date as it was written.
type DateTime = xmlvalue.DateTime

// OfClass yields the objects of one class, in their order. They may be changed.
func (o *OVA) OfClass(class string) iter.Seq[*Object] {
	return func(yield func(*Object) bool) {
		for i := range o.Objects {
			if o.Objects[i].Class == class && !yield(&o.Objects[i]) {
				return
			}
		}
	}
}

// Object returns the object with an id, nil when there is none.
func (o *OVA) Object(id string) *Object {
	for i := range o.Objects {
		if o.Objects[i].ID == id {
			return &o.Objects[i]
		}
	}
	return nil
}

// Text returns a field that is a string, or "".
func (o *Object) Text(field string) string {
	s, _ := o.Snapshot[field].(string)
	return s
}

// Int returns a field that is an integer, in whatever form it came.
func (o *Object) Int(field string) (int64, error) {
	n, err := integer(o.Snapshot[field])
	if err != nil {
		return 0, fmt.Errorf("%s %s: %s: %w", o.Class, o.ID, field, err)
	}
	return n, nil
}

// ParseOVA reads ova.xml. A stub without objects is fine here. Errors are ErrOVA.
func ParseOVA(text []byte) (*OVA, error) {
	ova, err := parseOVA(text)
	if err != nil {
		return nil, fmt.Errorf("xva: %w: %w", ErrOVA, err)
	}
	return ova, nil
}

func parseOVA(text []byte) (*OVA, error) {
	if len(text) > MaxOVA {
		return nil, ErrTooLarge
	}
	value, err := xmlvalue.Decode(text)
	if err != nil {
		return nil, err
	}
	members, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("not a struct")
	}
	ova := &OVA{}
	if version, ok := take(members, "version"); ok {
		if ova.Version, err = parseVersion(version); err != nil {
			return nil, fmt.Errorf("version: %w", err)
		}
	}
	if objects, ok := take(members, "objects"); ok {
		if ova.Objects, err = parseObjects(objects); err != nil {
			return nil, fmt.Errorf("objects: %w", err)
		}
	}
	ova.Extra = rest(members)
	return ova, nil
}

func parseVersion(value any) (Version, error) {
	var v Version
	members, ok := value.(map[string]any)
	if !ok {
		return v, errors.New("not a struct")
	}
	for name, field := range v.texts() {
		if value, ok := take(members, name); ok {
			if *field, ok = value.(string); !ok {
				return v, fmt.Errorf("%s is not a string", name)
			}
		}
	}
	for name, field := range v.numbers() {
		if value, ok := take(members, name); ok {
			var err error
			if *field, err = integer(value); err != nil {
				return v, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	v.Extra = rest(members)
	return v, nil
}

func (v *Version) texts() map[string]*string {
	return map[string]*string{
		"hostname": &v.Hostname, "date": &v.Date, "product_version": &v.ProductVersion, "product_brand": &v.ProductBrand, "build_number": &v.BuildNumber,
	}
}

func (v *Version) numbers() map[string]*int64 {
	return map[string]*int64{"xapi_major": &v.XapiMajor, "xapi_minor": &v.XapiMinor, "export_vsn": &v.ExportVSN}
}

func parseObjects(value any) ([]Object, error) {
	items, ok := value.([]any)
	if !ok {
		return nil, errors.New("not an array")
	}
	objects := make([]Object, 0, len(items))
	seen := make(map[string]bool, len(items))
	for i, item := range items {
		members, ok := item.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("object %d is not a struct", i)
		}
		class, _ := take(members, "class")
		id, _ := take(members, "id")
		snapshot, _ := take(members, "snapshot")
		var object Object
		var okClass, okID, okSnapshot bool
		object.Class, okClass = class.(string)
		object.ID, okID = id.(string)
		object.Snapshot, okSnapshot = snapshot.(map[string]any)
		if !okClass || !okID || !okSnapshot || object.ID == "" {
			return nil, fmt.Errorf("object %d lacks its class, id or snapshot", i)
		}
		if seen[object.ID] {
			return nil, fmt.Errorf("id %.80q comes twice", object.ID)
		}
		seen[object.ID] = true
		object.Extra = rest(members)
		objects = append(objects, object)
	}
	return objects, nil
}

// Append writes ova.xml as hosts do: one value, without a declaration or white space.
func (o *OVA) Append(dst []byte) ([]byte, error) {
	members := maps.Clone(o.Extra)
	if members == nil {
		members = map[string]any{}
	}
	members["version"] = o.Version.value()
	objects := make([]any, len(o.Objects))
	for i, object := range o.Objects {
		item := map[string]any{}
		maps.Copy(item, object.Extra)
		snapshot := object.Snapshot
		if snapshot == nil {
			snapshot = map[string]any{}
		}
		item["class"], item["id"], item["snapshot"] = object.Class, object.ID, snapshot
		objects[i] = item
	}
	members["objects"] = objects
	dst, err := xmlvalue.Append(dst, members)
	if err != nil {
		return nil, fmt.Errorf("xva: %w: %w", ErrOVA, err)
	}
	return dst, nil
}

func (v *Version) value() map[string]any {
	members := map[string]any{}
	maps.Copy(members, v.Extra)
	for name, field := range v.texts() {
		members[name] = *field
	}
	for name, field := range v.numbers() {
		members[name] = *field
	}
	return members
}

// take removes a member.
func take(members map[string]any, name string) (any, bool) {
	v, ok := members[name]
	delete(members, name)
	return v, ok
}

// rest is what take has left, nil when that is nothing.
func rest(members map[string]any) map[string]any {
	if len(members) == 0 {
		return nil
	}
	return members
}

func integer(value any) (int64, error) {
	switch v := value.(type) {
	case int64:
		return v, nil
	case int:
		return int64(v), nil
	case string:
		return strconv.ParseInt(v, 10, 64)
	default:
		return 0, errors.New("not an integer")
	}
}
