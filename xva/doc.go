// Package xva reads and writes XVA archives, the form in which XCP-ng and XenServer pools export whole VMs.
//
// A [Reader] reads one from a stream, plain or compressed, in constant memory, and proves it complete. A [Writer] writes one forward;
// [Size] tells its exact length before, which an import wants as Content-Length. [OVA] is the description inside.
//
//	r, err := xva.NewReader(stream, nil)
//	for {
//		chunk, err := r.Next() // io.EOF is the proof that all is there
//		…
//	}
//
// # The format
//
// An archive is a tar, as a whole compressed with gzip or zstd or not at all:
//
//	member                   content
//	ova.xml                  first; one XML-RPC value, see below
//	<id>/00000000            the first MiB of the disk whose VDI object has that id
//	<id>/00000000.checksum   40 lower-case hex digits of SHA-1; or
//	<id>/00000000.xxhash     16 upper-case hex digits of XXH64, seed 0
//	<id>/00000003            chunks 1 and 2 are zero and left out
//	…                        the last chunk is as long as what is left of the disk
//	(end)                    two blocks of zeros; tar's padding may follow
//
//	rule                     what it says
//	headers                  hosts write tar's oldest form, V7: type NUL, no magic; ustar and GNU headers are read too
//	order of disks           by id as a string: Ref:10 before Ref:9; each disk that is listed comes once and is complete
//	order of chunks          ascending; the first and the last of a disk are always there
//	gaps                     each number left out is a chunk of zeros, as long as the first chunk of the whole archive. A writer leaves
//	                         no gaps when the first disk is smaller than 1 MiB; a reader refuses them then, because nobody can
//	                         know their size (ErrGap)
//	zero chunks              may be there all the same
//	chunks of length 0       have a number and advance nothing; hosts send them to keep a connection alive
//	checksums                follow their chunk at once; hosts of the XCP-ng 8.2 generation and xva-img know only SHA-1
//	longer last chunk        some writers fill it up to 1 MiB; what is past the disk's size is dropped
//
// ova.xml:
//
//	member     content
//	version    hostname, date, product_version, product_brand, build_number; xapi_major, xapi_minor: a pool refuses what is newer
//	           than itself; export_vsn: 2, or 1 with one more table of checksums at the end
//	objects    structs of class, id and snapshot: the record, in which references are ids of other objects
//
// Which disks an archive holds follows from the objects: see [OVA.Disks]. Secrets are among them: the content of a VTPM is in its
// snapshot.
//
// # Limits
//
// Input is hostile. Chunks of more than [MaxChunk], an ova.xml of more than [MaxOVA] and zstd windows of more than 16 MiB are
// refused; memory grows with what was received, not with what a header says; a stream that goes on after the archive's end is read
// for 1 MiB at most.
//
//	not read                 because
//	export_vsn 0             checksums only at the end; exports of hosts from before 2010
//	PAX headers              no exporter writes them
package xva
