package xapi_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/xenbackup/xenbackup/xapi"
)

// recordTypes has one of each.
var recordTypes = []any{
	xapi.Session{},
	xapi.Pool{},
	xapi.Host{},
	xapi.VM{},
	xapi.VMMetrics{},
	xapi.VMGuestMetrics{},
	xapi.VBD{},
	xapi.VDI{},
	xapi.SR{},
	xapi.PBD{},
	xapi.VIF{},
	xapi.PIF{},
	xapi.Network{},
	xapi.Task{},
	xapi.VTPM{},
	xapi.VGPU{},
	xapi.VUSB{},
	xapi.Message{},
}

// anyJSON is a value of any kind, numbers of any size included.
func anyJSON() *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any { return drawJSON(t, 3) })
}

func drawJSON(t *rapid.T, depth int) any {
	kinds := 5
	if depth > 0 {
		kinds = 7
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(t, "bool")
	case 2:
		return rapid.String().Draw(t, "text")
	case 3:
		return json.Number(rapid.StringMatching(`-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,9})?([eE][+-]?[0-9]{1,3})?`).Draw(t, "number"))
	case 4:
		return rapid.StringMatching(`[a-z_]{0,12}`).Draw(t, "enumeration")
	case 5:
		list := []any{}
		for range rapid.IntRange(0, 3).Draw(t, "values") {
			list = append(list, drawJSON(t, depth-1))
		}
		return list
	default:
		object := map[string]any{}
		for range rapid.IntRange(0, 3).Draw(t, "members") {
			object[rapid.String().Draw(t, "member")] = drawJSON(t, depth-1)
		}
		return object
	}
}

// drawField is a value that fits a field of a record.
func drawField(t *rapid.T, of reflect.Type) any {
	switch of.Kind() {
	case reflect.Bool:
		return rapid.Bool().Draw(t, "bool")
	case reflect.Int64:
		return json.Number(fmt.Sprint(rapid.Int64().Draw(t, "integer")))
	case reflect.Float64:
		return json.Number(fmt.Sprint(rapid.Int16().Draw(t, "fraction")) + ".5")
	case reflect.Slice:
		list := []any{}
		for range rapid.IntRange(0, 3).Draw(t, "values") {
			list = append(list, drawField(t, of.Elem()))
		}
		return list
	case reflect.Map:
		object := map[string]any{}
		for range rapid.IntRange(0, 3).Draw(t, "members") {
			object[rapid.StringN(1, 20, -1).Draw(t, "member")] = drawField(t, of.Elem())
		}
		return object
	default:
		return rapid.StringN(1, 30, -1).Draw(t, "text")
	}
}

// drawRecord has known fields, some absent or null, and unknown ones.
func drawRecord(t *rapid.T, of reflect.Type) map[string]any {
	object := map[string]any{}
	for range rapid.IntRange(0, 4).Draw(t, "unknown fields") {
		object[rapid.String().Draw(t, "unknown")] = anyJSON().Draw(t, "value")
	}
	for field := range of.Fields() {
		name := field.Tag.Get("json")
		if name == "-" {
			continue
		}
		delete(object, name)
		switch rapid.IntRange(0, 5).Draw(t, name) {
		case 0:
		case 1:
			object[name] = nil
		default:
			object[name] = drawField(t, field.Type)
		}
	}
	return object
}

func TestRecordsSurviveARoundTrip(t *testing.T) {
	t.Parallel()
	for _, record := range recordTypes {
		of := reflect.TypeOf(record)
		t.Run(of.Name(), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				text, err := json.Marshal(drawRecord(rt, of))
				require.NoError(rt, err)
				decoded := reflect.New(of).Interface()
				require.NoError(rt, json.Unmarshal(text, decoded))
				again, err := json.Marshal(decoded)
				require.NoError(rt, err)
				sameMeaning(t, string(text), string(again))
				if t.Failed() {
					rt.Fatalf("%s", text)
				}
			})
		})
	}
}

// The fast way through a record must read what encoding/json reads.
func TestRecordsAreReadAsEncodingJSONDoes(t *testing.T) {
	t.Parallel()
	type plain struct {
		NameLabel   string            `json:"name_label"`
		VirtualSize int64             `json:"virtual_size"`
		Tags        []string          `json:"tags"`
		OtherConfig map[string]string `json:"other_config"`
	}
	for _, text := range []string{
		`{"name_label":"a\"b\\c\u00e9\ud83d\ude00 \ud800","tags":["x","\n",""],"other_config":{"a\"":"\/","":""},"virtual_size":-5}`,
		" {\n\t\"name_label\" : \"x\" ,\r\n \"tags\" : [ \"a\" , \"b\" ] , \"other_config\" : { \"k\" : \"v\" } }\n ",
		`{"name_label":"first","name_label":"last","tags":["a"],"tags":[],"other_config":{"a":"1"},"other_config":{"b":"2"}}`,
		`{"name_label":"}]{[\",:","nested":{"a":[{"b":"}]"}]},"tags":["]"],"other_config":{"}":"{"}}`,
		`{}`, `{"tags":null,"other_config":{},"name_label":null}`, "{\"name_label\":\"\xff\xfe\",\"tags\":[\"\xff\"]}",
	} {
		var want plain
		require.NoError(t, json.Unmarshal([]byte(strings.ReplaceAll(text, `"other_config":{"a":"1"},`, "")), &want))
		var got xapi.VDI
		require.NoError(t, json.Unmarshal([]byte(text), &got), text)
		require.Equal(t, want.NameLabel, got.NameLabel)
		require.Equal(t, want.VirtualSize, got.VirtualSize)
		require.Equal(t, want.Tags, got.Tags)
		require.Equal(t, want.OtherConfig, got.OtherConfig)
	}
}

// Direct calls of UnmarshalJSON may get anything.
func FuzzRecordText(f *testing.F) {
	f.Add([]byte(vdiText))
	f.Add([]byte(`{"a":[{"b":"`))
	f.Add([]byte(`{"tags":["\`))
	f.Fuzz(func(_ *testing.T, text []byte) {
		_ = new(xapi.VDI).UnmarshalJSON(text) // does not panic
	})
}
