package xapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Features is what a pool can do, as far as backups care, and as this login may use it. It is that of the master; during a rolling
// upgrade other hosts may be older.
type Features struct {
	ProductBrand    string // XCP-ng, XenServer, Citrix Hypervisor
	ProductVersion  string // 8.3.0
	PlatformVersion string // 3.4.0, which counts on for all brands
	BuildVersion    string // of xapi itself: 25.6.0
	APIMajor        int64
	APIMinor        int64

	// Zstd: VM exports can be compressed with zstd. Asking another host for it gives an export without compression.
	Zstd bool
	// CBT: the pool tracks changed blocks of disks, on storage whose driver has VDI_CONFIG_CBT.
	CBT bool
	// NBD: a network of the pool is meant for disks over NBD, with TLS. InsecureNBD: without.
	NBD, InsecureNBD bool
	// SnapshotIgnoreVDIs: VM.snapshot takes a third parameter, the disks to leave out.
	SnapshotIgnoreVDIs bool
	// CreateSuspended: VM.create can make a suspended VM, one with memory.
	CreateSuspended bool
}

// Features asks what the pool can do. Nothing is changed for it: what records do not tell is found by how the pool refuses a call
// with the null reference.
func (c *Client) Features(ctx context.Context) (*Features, error) {
	f, err := c.features(ctx)
	if err != nil {
		return nil, fmt.Errorf("features: %w", err)
	}
	return f, nil
}

func (c *Client) features(ctx context.Context) (*Features, error) {
	pools, err := All[Pool](ctx, c)
	if err != nil {
		return nil, err
	}
	var pool *Pool
	for _, pool = range pools {
		break
	}
	if pool == nil {
		return nil, hostError(c.Host(), ErrProtocol, errors.New("no pool"))
	}
	master, err := Get(ctx, c, pool.Master)
	if err != nil {
		return nil, err
	}
	f := featuresOf(pool, master)
	if f.NBD, f.InsecureNBD, err = c.nbdNetworks(ctx); err != nil {
		return nil, err
	}
	cbt, err := c.knows(ctx, "VDI.get_cbt_enabled", NullRef)
	if err != nil {
		return nil, err
	}
	f.CBT = f.CBT && cbt
	f.SnapshotIgnoreVDIs, err = c.knows(ctx, "VM.snapshot", NullRef, "", []string{})
	return f, err
}

// featuresOf knows what is written in records.
func featuresOf(pool *Pool, master *Host) *Features {
	version := master.SoftwareVersion
	f := &Features{
		ProductBrand: version["product_brand"], ProductVersion: version["product_version"], PlatformVersion: version["platform_version"],
		BuildVersion: firstOf(version["xapi_build"], version["xapi"]), APIMajor: master.APIVersionMajor, APIMinor: master.APIVersionMinor,
	}
	// Licences restrict features by name; XCP-ng before 8.2 has zstd, but no name for it.
	restricted := func(name string) string {
		return firstOf(master.LicenseParams["restrict_"+name], pool.Restrictions["restrict_"+name])
	}
	f.Zstd = restricted("zstd_export") == "false" ||
		restricted("zstd_export") == "" && f.ProductBrand == "XCP-ng" && atLeast(f.ProductVersion, 8, 1)
	f.CBT = restricted("cbt") != "true"
	f.CreateSuspended = atLeast(f.PlatformVersion, 3, 0) // XCP-ng 8.0
	return f
}

// nbdNetworks looks for networks with such a purpose.
func (c *Client) nbdNetworks(ctx context.Context) (secure, insecure bool, err error) {
	networks, err := All[Network](ctx, c)
	for _, network := range networks {
		secure = secure || slices.Contains(network.Purpose, "nbd")
		insecure = insecure || slices.Contains(network.Purpose, "insecure_nbd")
	}
	return secure, insecure, err
}

// knows reports whether the pool understands a call, by making it on an object that cannot exist. A call that this login may not
// make is of no use either.
func (c *Client) knows(ctx context.Context, method string, args ...any) (bool, error) {
	err := c.Call(ctx, method, nil, args...)
	for _, unknown := range []error{
		ErrMessageMethodUnknown, ErrMessageParameterCountMismatch, ErrMessageRemoved, ErrPermissionDenied, ErrLicenceRestriction,
	} {
		if errors.Is(err, unknown) {
			return false, nil
		}
	}
	if err == nil || errors.Is(err, ErrHandleInvalid) || errors.Is(err, ErrUUIDInvalid) {
		return true, nil
	}
	return false, err
}

func firstOf(texts ...string) string {
	i := slices.IndexFunc(texts, func(text string) bool { return text != "" })
	if i < 0 {
		return ""
	}
	return texts[i]
}

// atLeast compares the first two numbers of a version.
func atLeast(version string, major, minor int) bool {
	first, rest, _ := strings.Cut(version, ".")
	second, _, _ := strings.Cut(rest, ".")
	x, _ := strconv.Atoi(first) // what is no number is old
	y, _ := strconv.Atoi(second)
	return x > major || x == major && y >= minor
}
