package xva

import "cmp"

// Compare compares what a pool compares when it imports: the version of the xapi that wrote an archive with another. It is positive when
// v is newer; a pool of that other version refuses the archive then.
func (v *Version) Compare(major, minor int64) int {
	return cmp.Or(cmp.Compare(v.XapiMajor, major), cmp.Compare(v.XapiMinor, minor))
}

// Lower makes v no newer than a pool, so that the pool does not refuse the archive for it. Fields that the pool does not know are ignored
// there. Every pool accepts 1.20, and archives whose chunks have SHA-1.
func (v *Version) Lower(major, minor int64) {
	if v.Compare(major, minor) > 0 {
		v.XapiMajor, v.XapiMinor = major, minor
	}
}
