package xapi

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"hash/maphash"
	"reflect"
)

// interner lets equal values of many records share their memory: names of fields, enumerations, whole maps that are the same for
// all VMs of a kind. Each table has a fixed size, and a newcomer takes the place of whatever it collides with, so that an interner
// never grows and needs no cleaning. The nil interner shares nothing. It is not safe for concurrent use.
type interner struct {
	seed        maphash.Seed
	texts       [4096]string
	raws        [512]json.RawMessage
	collections [1024]sharedCollection
	extras      [1024]sharedExtra
	key         []byte // of the extra that is being looked up
}

type sharedCollection struct {
	text  string
	value reflect.Value
}

type sharedExtra struct {
	text  string
	value map[string]json.RawMessage
}

const (
	maxSharedText       = 64
	maxSharedCollection = 4 << 10
)

func newInterner() *interner { return &interner{seed: maphash.MakeSeed()} }

func (in *interner) slot(text []byte, slots int) uint64 {
	return maphash.Bytes(in.seed, text) % uint64(slots) // the length of a table
}

func (in *interner) text(text []byte) string {
	if in == nil || len(text) > maxSharedText {
		return string(text)
	}
	slot := &in.texts[in.slot(text, len(in.texts))]
	if *slot != string(text) {
		*slot = string(text)
	}
	return *slot
}

func (in *interner) raw(raw []byte) json.RawMessage {
	if in == nil || len(raw) > maxSharedText {
		return bytes.Clone(raw)
	}
	slot := &in.raws[in.slot(raw, len(in.raws))]
	if !bytes.Equal(*slot, raw) {
		*slot = bytes.Clone(raw)
	}
	return *slot
}

// collection sets field to a value decoded from the same text before, or else decodes it.
func (in *interner) collection(raw []byte, field reflect.Value, decode func() error) error {
	if in == nil || len(raw) > maxSharedCollection {
		return decode()
	}
	slot := &in.collections[in.slot(raw, len(in.collections))]
	if slot.value.IsValid() && slot.value.Type() == field.Type() && slot.text == string(raw) {
		field.Set(slot.value)
		return nil
	}
	if err := decode(); err != nil {
		return err
	}
	if slot.text != string(raw) {
		slot.text = string(raw)
	}
	slot.value = reflect.New(field.Type()).Elem()
	slot.value.Set(field)
	return nil
}

// extra makes the Extra of a record; nil when nothing is left over. A member without a value gets a nil entry.
func (in *interner) extra(rest []rawMember) map[string]json.RawMessage {
	if len(rest) == 0 {
		return nil
	}
	if in == nil {
		return in.newExtra(rest)
	}
	in.key = in.key[:0]
	for _, member := range rest {
		for _, part := range []string{member.name, string(member.value)} {
			in.key = append(binary.AppendUvarint(in.key, uint64(len(part))), part...)
		}
	}
	if len(in.key) > maxSharedCollection {
		return in.newExtra(rest)
	}
	slot := &in.extras[in.slot(in.key, len(in.extras))]
	if slot.text != string(in.key) {
		*slot = sharedExtra{string(in.key), in.newExtra(rest)}
	}
	return slot.value
}

func (in *interner) newExtra(rest []rawMember) map[string]json.RawMessage {
	extra := make(map[string]json.RawMessage, len(rest))
	for _, member := range rest {
		if extra[member.name] = nil; member.value != nil {
			extra[member.name] = in.raw(member.value)
		}
	}
	return extra
}
