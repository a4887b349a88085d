package xva_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xva"
)

const ovaText = `<value><struct><member><name>version</name><value><struct>` +
	`<member><name>hostname</name><value>xcp1</value></member><member><name>date</name><value>2026-01-10</value></member>` +
	`<member><name>product_version</name><value>8.3.0</value></member><member><name>product_brand</name><value>XCP-ng</value></member>` +
	`<member><name>build_number</name><value>cloud</value></member><member><name>xapi_major</name><value>26</value></member>` +
	`<member><name>xapi_minor</name><value><i4>17</i4></value></member><member><name>export_vsn</name><value>2</value></member>` +
	`<member><name>new_in_27</name><value>x</value></member></struct></value></member>` +
	`<member><name>objects</name><value><array><data>` +
	`<value><struct><member><name>class</name><value>VDI</value></member><member><name>id</name><value>Ref:4</value></member>` +
	`<member><name>snapshot</name><value><struct><member><name>virtual_size</name><value>1048576</value></member>` +
	`<member><name>type</name><value>suspend</value></member><member><name>sharable</name><value><boolean>0</boolean></value></member>` +
	`<member><name>other_config</name><value><struct><member><name>a&amp;b</name><value> c </value></member></struct></value></member>` +
	`</struct></value></member><member><name>flavour</name><value>new</value></member></struct></value>` +
	`</data></array></value></member><member><name>signature</name><value>s</value></member></struct></value>`

func TestOVAKeepsWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	want := &xva.OVA{
		Version: xva.Version{
			Hostname: "xcp1", Date: "2026-01-10", ProductVersion: "8.3.0", ProductBrand: "XCP-ng", BuildNumber: "cloud",
			XapiMajor: 26, XapiMinor: 17, ExportVSN: 2, Extra: map[string]any{"new_in_27": "x"},
		},
		Objects: []xva.Object{{
			Class: "VDI", ID: "Ref:4", Extra: map[string]any{"flavour": "new"},
			Snapshot: map[string]any{"virtual_size": "1048576", "type": "suspend", "sharable": false, "other_config": map[string]any{"a&b": " c "}},
		}},
		Extra: map[string]any{"signature": "s"},
	}
	got, err := xva.ParseOVA([]byte(ovaText))
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(want, got))
	text, err := got.Append(nil)
	require.NoError(t, err)
	again, err := xva.ParseOVA(text)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(want, again))
	disks, err := got.Disks()
	require.NoError(t, err)
	require.Equal(t, []xva.Disk{{ID: "Ref:4", Size: 1 << 20}}, disks)
	require.Equal(t, "suspend", got.Object("Ref:4").Text("type"))
	require.Nil(t, got.Object("Ref:5"))
}

func TestBrokenOVAIsRefused(t *testing.T) {
	t.Parallel()
	for n := range ovaText {
		_, err := xva.ParseOVA([]byte(ovaText[:n]))
		require.ErrorIs(t, err, xva.ErrOVA, "cut at %d", n)
	}
	for old, changed := range map[string]string{
		"<value>26</value>":    "<value>x</value>",
		"<value>xcp1</value>":  "<value><boolean>1</boolean></value>",
		"<name>class</name>":   "<name>klass</name>",
		"<name>id</name>":      "<name>uid</name>",
		"<value>Ref:4</value>": "<value/>",
		"<value><array><data>": "<value><array><data><value>x</value>",
	} {
		require.Contains(t, ovaText, old)
		_, err := xva.ParseOVA([]byte(strings.Replace(ovaText, old, changed, 1)))
		require.ErrorIs(t, err, xva.ErrOVA, changed)
	}
	object := ovaText[strings.Index(ovaText, "<data>")+6 : strings.Index(ovaText, "</data>")]
	_, err := xva.ParseOVA([]byte(strings.Replace(ovaText, object, object+object, 1)))
	require.ErrorContains(t, err, "twice")
	_, err = xva.ParseOVA([]byte("<value>x</value>"))
	require.ErrorIs(t, err, xva.ErrOVA)
}
