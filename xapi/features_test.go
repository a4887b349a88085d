package xapi_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

func TestFeaturesOfASimulatedPool(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, xapitest.Inventory{VMs: []xapitest.VM{{Name: "web"}}, Networks: []xapitest.Network{{Name: "n"}}})
	c := p.Client(t)
	f, err := c.Features(t.Context())
	require.NoError(t, err)
	require.Equal(t, "XCP-ng", f.ProductBrand)
	require.Equal(t, "8.3.0", f.ProductVersion)
	require.Positive(t, f.APIMajor)
	require.True(t, f.Zstd)
	require.True(t, f.CBT)
	require.False(t, f.NBD)
	require.True(t, f.SnapshotIgnoreVDIs)
	require.True(t, f.CreateSuspended)

	networks, err := xapi.All[xapi.Network](t.Context(), c)
	require.NoError(t, err)
	for ref := range networks {
		require.NoError(t, c.Call(t.Context(), "network.add_purpose", nil, ref, "nbd"))
	}
	p.Fail("VM.snapshot", xapitest.OnCall(1), xapi.ErrMessageParameterCountMismatch)
	p.Fail("VDI.get_cbt_enabled", xapitest.OnCall(1), xapi.ErrMessageMethodUnknown)
	f, err = c.Features(t.Context())
	require.NoError(t, err)
	require.True(t, f.NBD)
	require.False(t, f.SnapshotIgnoreVDIs)
	require.False(t, f.CBT)
	require.Empty(t, p.Snapshots(), "asking changes nothing")
	require.Empty(t, p.Leaks())
}

func TestFeaturesFollowVersionsAndLicences(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		version, licence map[string]string
		want             xapi.Features
	}{
		"XCP-ng 7.6": {
			version: map[string]string{"product_brand": "XCP-ng", "product_version": "7.6.0", "platform_version": "2.7.1", "xapi": "1.110"},
			want:    xapi.Features{ProductBrand: "XCP-ng", ProductVersion: "7.6.0", PlatformVersion: "2.7.1", BuildVersion: "1.110", CBT: true},
		},
		"XCP-ng 8.1": {
			version: map[string]string{"product_brand": "XCP-ng", "product_version": "8.1.0", "platform_version": "3.1.0"},
			want: xapi.Features{
				ProductBrand: "XCP-ng", ProductVersion: "8.1.0", PlatformVersion: "3.1.0", Zstd: true, CBT: true, CreateSuspended: true,
			},
		},
		"XenServer 8 without a licence": {
			version: map[string]string{"product_brand": "XenServer", "product_version": "8.4.0", "platform_version": "3.4.0", "xapi_build": "25.6.0"},
			licence: map[string]string{"restrict_zstd_export": "true", "restrict_cbt": "true"},
			want: xapi.Features{
				ProductBrand: "XenServer", ProductVersion: "8.4.0", PlatformVersion: "3.4.0", BuildVersion: "25.6.0", CreateSuspended: true,
			},
		},
		"XenServer 8": {
			version: map[string]string{"product_brand": "XenServer", "product_version": "8.4.0", "platform_version": "3.4.0"},
			licence: map[string]string{"restrict_zstd_export": "false", "restrict_cbt": "false"},
			want: xapi.Features{
				ProductBrand: "XenServer", ProductVersion: "8.4.0", PlatformVersion: "3.4.0", Zstd: true, CBT: true, CreateSuspended: true,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &script{answers: map[string]func() any{
				"pool.get_all_records":    func() any { return map[string]any{"p": map[string]any{"master": "h"}} },
				"network.get_all_records": func() any { return map[string]any{} },
				"host.get_record":         func() any { return map[string]any{"software_version": test.version, "license_params": test.licence} },
				"VDI.get_cbt_enabled":     func() any { return xapi.ErrHandleInvalid },
				"VM.snapshot":             func() any { return xapi.ErrMessageParameterCountMismatch },
			}}
			f, err := dialScript(t, s).Features(t.Context())
			require.NoError(t, err)
			if diff := cmp.Diff(&test.want, f); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFeaturesAreNotGuessedWhenThePoolIsAway(t *testing.T) {
	t.Parallel()
	p, c := newPool(t, pattern(1<<20))
	p.Fail("VM.snapshot", xapitest.OnCall(1), xapi.ErrHostOffline)
	_, err := c.Features(t.Context())
	require.ErrorIs(t, err, xapi.ErrHostOffline)
}
