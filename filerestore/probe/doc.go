// Package probe tells by its magic numbers what a volume holds, and its label and
// UUID, without reading more than a few sectors:
//
//	content, err := probe.Detect(r, size)
//	content.Family, content.Type        // "ext", "ext4"
//
// What programs keep files in, what they keep volumes in, and what they encrypt are
// told apart by [Kind]. Containers come before what may be left over below
// them: a disk that was encrypted may still begin with what was there before.
//
// What has lost its first sectors, and keeps a copy of them, is known by that copy:
// ext, FAT32 and exFAT.
//
// The numbers are public knowledge; they were checked against volumes that the
// programs' own tools made, where these tools were at hand.
package probe
