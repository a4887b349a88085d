package xapi_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
)

const vdiText = `{"uuid":"u","name_label":"a <b> & \u00e9","virtual_size":9007199254740993,"SR":"OpaqueRef:sr","snapshot_of":"OpaqueRef:NULL",` +
	`"snapshot_time":"20250319T04:16:24+02:00","tags":[],"other_config":{"k":"v"},"type":"enum_of_tomorrow","parent":null,` +
	`"$SR$uuid":"x","field_of_tomorrow":{"n":12345678901234567890,"f":1.50}}`

// sameMeaning compares two JSON texts with numbers exact.
func sameMeaning(t *testing.T, want, got string) {
	t.Helper()
	decode := func(text string) (v any) {
		dec := json.NewDecoder(strings.NewReader(text))
		dec.UseNumber()
		require.NoError(t, dec.Decode(&v))
		return v
	}
	if diff := cmp.Diff(decode(want), decode(got)); diff != "" {
		t.Error(diff)
	}
}

func TestRecordsKeepWhatTheyDoNotKnow(t *testing.T) {
	t.Parallel()
	var vdi xapi.VDI
	require.NoError(t, json.Unmarshal([]byte(vdiText), &vdi))
	require.Equal(t, int64(9007199254740993), vdi.VirtualSize)
	require.Equal(t, "enum_of_tomorrow", vdi.Type)
	require.True(t, vdi.SnapshotOf.IsNull())
	taken, err := vdi.SnapshotTime.Time()
	require.NoError(t, err)
	require.True(t, taken.Equal(time.Date(2025, 3, 19, 2, 16, 24, 0, time.UTC)))
	for _, record := range []any{vdi, &vdi, map[string]any{"x": vdi}["x"]} { // by value too
		text, err := json.Marshal(record)
		require.NoError(t, err)
		sameMeaning(t, vdiText, string(text))
	}
	vdi.CBTEnabled, vdi.NameLabel = true, "" // a field that was absent is written once it is set
	text, err := json.Marshal(vdi)
	require.NoError(t, err)
	require.Contains(t, string(text), `"cbt_enabled":true`)
	require.Contains(t, string(text), `"name_label":""`)
}

func TestNewRecordsHaveNoNull(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(map[string]any{"vm": xapi.VM{NameLabel: "new"}})
	require.NoError(t, err)
	require.NotContains(t, string(text), "null")
	require.Contains(t, string(text), `"suspend_VDI":"OpaqueRef:NULL"`)
	require.Contains(t, string(text), `"snapshot_time":"19700101T00:00:00Z"`)
	require.Contains(t, string(text), `"other_config":{}`)
	require.Contains(t, string(text), `"tags":[]`)
}

func TestRecordsTakeNumbersWrittenAsStrings(t *testing.T) {
	t.Parallel()
	var vm xapi.VM
	require.NoError(t, json.Unmarshal([]byte(`{"memory_static_max":"1073741824","HVM_shadow_multiplier":"1.5"}`), &vm))
	require.Equal(t, int64(1<<30), vm.MemoryStaticMax)
	require.InDelta(t, 1.5, vm.HVMShadowMultiplier, 0)
	for _, text := range []string{`{"memory_static_max":"lots"}`, `{"memory_static_max":1.5}`, `{"tags":{}}`, `[]`, `{"HVM_shadow_multiplier":"NaN"}`} {
		require.Error(t, json.Unmarshal([]byte(text), &vm), text)
	}
	require.ErrorContains(t, json.Unmarshal([]byte(`{"tags":"x"}`), &vm), "VM.tags")
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(vdiText))
	f.Add([]byte(`{"virtual_size":"5","uuid":null,"":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var vdi xapi.VDI
		if json.Unmarshal(text, &vdi) != nil {
			return
		}
		once, err := json.Marshal(vdi)
		require.NoError(t, err)
		var again xapi.VDI
		require.NoError(t, json.Unmarshal(once, &again))
		twice, err := json.Marshal(again)
		require.NoError(t, err)
		require.Equal(t, string(once), string(twice))
	})
}

func TestDatesOfEveryServer(t *testing.T) {
	t.Parallel()
	want := time.Date(2025, 3, 19, 4, 16, 24, 0, time.UTC)
	for _, text := range []string{
		"20250319T04:16:24Z", "20250319T04:16:24", "2025-03-19T04:16:24Z", "2025-03-19 04:16:24Z", "20250319T041624Z", "2025-03-19T041624",
		"20250319T06:16:24+02:00", "20250319T06:16:24+0200", "20250319T06:16:24+02", "20250318T23:16:24-05:00", "1742357784",
	} {
		got, err := xapi.Time(text).Time()
		require.NoError(t, err, text)
		require.True(t, got.Equal(want), "%s: %s", text, got)
	}
	got, err := xapi.Time("2025-03-19T04:16:24.123Z").Time()
	require.NoError(t, err)
	require.Equal(t, want.Add(123*time.Millisecond), got)
	for _, text := range []string{"", "yesterday", "20250319", "20251319T04:16:24Z"} {
		_, err := xapi.Time(text).Time()
		require.Error(t, err, text)
	}
	require.Equal(t, xapi.Time("20250319T04:16:24Z"), xapi.NewTime(want.In(time.FixedZone("x", 3600))))
	require.True(t, xapi.Time("19700101T00:00:00Z").IsZero())
	var number xapi.Time
	require.NoError(t, json.Unmarshal([]byte("1742357784"), &number))
	require.Equal(t, xapi.Time("1742357784"), number)
}

func TestSecretsNeverPrint(t *testing.T) {
	t.Parallel()
	secret := xapi.Secret("canary")
	opts := xapi.Options{Password: secret}
	text, err := json.Marshal(map[string]any{"a": secret, "b": &secret})
	require.NoError(t, err)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", secret, "opts", opts)
	for _, printed := range []string{
		fmt.Sprintf("%v %s %q %x %X %d %#v %+v", secret, secret, secret, secret, secret, secret, secret, secret),
		fmt.Sprintf("%v %+v %#v", opts, opts, opts), fmt.Sprint(&secret), string(text), log.String(),
	} {
		require.NotContains(t, printed, "canary")
		require.NotContains(t, printed, "63616e617279")
	}
}

func TestErrorsCompareByCode(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("remove disk: %w", &xapi.Error{Method: "VDI.destroy", Code: "SR_BACKEND_FAILURE_44", Params: []string{"", "full", ""}})
	require.ErrorIs(t, err, xapi.ErrSRBackendFailure)
	require.ErrorIs(t, err, &xapi.Error{Code: "SR_BACKEND_FAILURE_44"})
	require.NotErrorIs(t, err, &xapi.Error{Code: "SR_BACKEND_FAILURE_46"})
	require.NotErrorIs(t, err, xapi.ErrSRFull)
	long := &xapi.Error{Method: "m", Code: "X", Params: []string{strings.Repeat("é", 5000)}}
	require.Less(t, len(long.Error()), 600)
}
