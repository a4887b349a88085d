// Package xva reads and writes XVA archives, the form in which XCP-ng and XenServer pools export whole VMs.
//
//	to                                       use
//	read an archive as it comes              NewReader, Reader.Next: chunk by chunk, exactly as much as is asked for
//	the same, on all processors              Reader.Chunks; Reader.CopyTo into files, sparse, or into a *vhd.RW
//	go through it disk by disk               Reader.NextDisk: raw bytes, or blocks of 2 MiB
//	know which blocks hold data              Reader.Blocks, before a second reading
//	prove it while it passes by              NewProof
//	read its disks anywhere                  Open, of a plain archive in a file: each Image is a disk.Source, so that vhd.FlattenRaw,
//	                                         vhd.Flatten and vhd.NewExport make raw files, VHDs and VHD streams of it
//	write one                                Write, NewWriter, of any disk.Source: vhd.NewRaw, a chain of VHDs, an Image. Size tells
//	                                         the exact length before, which an import wants as Content-Length
//	compress it                              NewCompressor between the Writer and its destination
//	read or change the description           OVA; Version.Lower makes it one that older pools take
//
// Whatever the way, what ends well is proven: the archive has its end, every disk that ova.xml lists is covered, every checksum was
// compared, and a compressed stream is intact. Open leaves the checksums of data to the first read of each chunk.
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
// Input is hostile. Chunks of more than [MaxChunk], an ova.xml of more than [MaxOVA], zstd windows of more than 16 MiB and more than
// 16 million keepalives are refused; memory grows with what was received, not with what a header says; a stream that goes on after the
// archive's end is read for 1 MiB at most.
//
// Memory does not depend on the size of disks, but for the index of [Open], see [Archive]:
//
//	Reader.Next, NextDisk                       a chunk: 1 MiB
//	Chunks, CopyTo, Blocks, Proof, WriteDisk    six chunks
//	NewCompressor                               a piece of 1 MiB for each processor, at most four, and one more; before and after compression
//	zstd, gzip that is read                     twice the window, which usually is 4 MiB or less; 32 KiB
//
// What an archive is made of lies at multiples of 512 bytes, not of 4096, and has to be hashed: no file system can share it with a disk's
// file, and the kernel cannot copy it unseen. So data passes through the process once, and the processors share the work.
//
//	not read                 because
//	export_vsn 0             checksums only at the end; exports of hosts from before 2010
//	PAX headers              no exporter writes them
package xva
