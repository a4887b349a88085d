package catalog

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"
)

const (
	vmRoot    = "xo-vm-backups"
	cacheName = "cache.json.gz"
	vdisName  = "vdis"

	// dateLayout is the date in file names: UTC, whole seconds, no separators,
	// so that names sort as the dates do.
	dateLayout = "20060102T150405Z"
)

// FormatDate returns t as it stands in the file names of a repository, such as
// "20260110T030000Z": UTC, whole seconds.
func FormatDate(t time.Time) string { return t.UTC().Format(dateLayout) }

// ParseDate is the inverse of [FormatDate].
func ParseDate(s string) (time.Time, error) {
	t, err := time.Parse(dateLayout, s)
	if err != nil || FormatDate(t) != s {
		return time.Time{}, fmt.Errorf("catalog: %q is no date of a file name", s)
	}
	return t, nil
}

// leadingDate returns the date that the file name starts with; not one of the
// last year that names can have, after which there is none.
func leadingDate(name string) (time.Time, bool) {
	if len(name) < len(dateLayout) {
		return time.Time{}, false
	}
	t, err := ParseDate(name[:len(dateLayout)])
	return t, err == nil && t.Year() < 9999
}

// vmDir returns the directory of a VM. Nothing says that its name is a uuid,
// but it is one path element that Xen Orchestra would list.
func vmDir(vm string) (string, error) {
	if !isVMName(vm) || !isElement(vm) {
		return "", fmt.Errorf("catalog: %q: %w", vm, ErrInvalidName)
	}
	return path.Join(vmRoot, vm), nil
}

// isVMName tells whether Xen Orchestra takes the directory name for a VM.
func isVMName(name string) bool {
	return name != "" && !strings.HasPrefix(name, ".") && !strings.HasSuffix(name, ".lock")
}

// isElement tells whether s is exactly one visible element of a path.
func isElement(s string) bool {
	return s != "" && s[0] != '.' && !strings.ContainsAny(s, "/\\\x00")
}

// isPointName tells whether Xen Orchestra takes the file name for the metadata
// of a backup: hidden ones too.
func isPointName(name string) bool { return strings.HasSuffix(name, ".json") }

// isDiskName tells whether the name is that of a visible disk in a VDI directory.
func isDiskName(name string) bool {
	return strings.HasSuffix(name, ".vhd") && !strings.HasPrefix(name, ".")
}

// diskStem is the name of a disk without what says how it is kept.
func diskStem(name string) string {
	return strings.TrimSuffix(strings.TrimSuffix(name, ".vhd"), ".alias")
}

func isAliasName(name string) bool { return strings.HasSuffix(name, ".alias.vhd") }

// within resolves the untrusted path rel against the directory dir, and refuses
// what does not lie below root. Back slashes, NUL bytes and absolute paths are
// refused too.
func within(root, dir, rel string) (string, error) {
	if rel == "" || strings.HasPrefix(rel, "/") || strings.ContainsAny(rel, "\\\x00") {
		return "", fmt.Errorf("catalog: path %q: %w", rel, ErrOutside)
	}
	name := path.Join(dir, rel)
	if !fs.ValidPath(name) || !strings.HasPrefix(name, root+"/") {
		return "", fmt.Errorf("catalog: path %q: %w", rel, ErrOutside)
	}
	return name, nil
}

// splitID takes the id of a point apart. A leading slash, as Xen Orchestra
// writes ids, is accepted.
func splitID(id string) (vm, file string, err error) {
	parts := strings.Split(strings.TrimPrefix(id, "/"), "/")
	if len(parts) != 3 || parts[0] != vmRoot || !isVMName(parts[1]) || !isElement(parts[1]) ||
		!isPointName(parts[2]) || strings.ContainsAny(parts[2], "\\\x00") {
		return "", "", fmt.Errorf("catalog: point %q: %w", id, ErrInvalidName)
	}
	return parts[1], parts[2], nil
}
