// Package xapitest is a simulated pool of XCP-ng hosts that runs inside a test or
// a program. It speaks the XenAPI over real HTTP, its disks are raw files with
// true content, and it misbehaves on demand. Everything that talks to a pool
// through package xapi, or through any other client of JSON-RPC or XML-RPC, can be
// tried on it without a hypervisor.
//
//	pool := xapitest.NewPool(t, xapitest.Inventory{VMs: []xapitest.VM{{
//		Name: "web", PowerState: "Running", Disks: []xapitest.Disk{{Size: 1 << 30}},
//	}}})
//	client := pool.Client(t)               // or any client, at pool.URL()
//	live := pool.VM("web").Disks[0].Path   // write here: that is the guest at work
//	pool.Fail("VM.snapshot", xapitest.OnCall(2), xapi.ErrSRFull)
//
// [NewPool] is for tests, [Start] for programs. The pool lives until [Pool.Close],
// which waits for everything it started; NewPool closes it with the test and
// fails the test if a scripted fault never struck or something has leaked.
//
// # Disks
//
// A VDI is one sparse raw file, named by its uuid, in Options.Dir; it is made when
// someone asks for it or writes, so that ten thousand machines make no files. The
// file of a live disk may be written by anyone at any time, also while it is being
// snapshot: whoever wants to open it for writing meanwhile waits on Linux, and the
// snapshot is one instant; elsewhere, and for those who have it open already, it
// is a copy in ascending order, as a running guest without flush would leave it.
// The file of a snapshot is never written again. [Pool.VDIPath] and [DiskInfo]
// give the paths; [Pool.WriteVDI] writes without them.
//
// # Changed blocks
//
// Exports with base and list_changed_blocks have to know what differs.
//
//	who wrote                                   how the pool knows, and what it costs
//	imports, copies, WriteVDI                   noted in units of 64 KiB as it is written: nothing is read. As on a host, what was
//	                                            written with what it held before counts as changed
//	anyone, into the file                       noticed by the file's time of change, which the pool sets to a moment of its own after
//	                                            its own writes; both disks are read where they have data, and compared
//	both by turns, at once or with files open   noticed as well: a lease tells whether the pool is alone with the file
//	before the pool was restarted (Keep)        compared
//	systems other than Linux                    compared
//
// A snapshot of a file that nobody has open starts the notes anew, so that one
// foreign write costs one comparison. Only two things go unseen: a time of change
// that somebody sets back, and a shared mapping on a filesystem that does not
// tell of its writes (tmpfs) made and unmade between two snapshots. VDI.data_destroy
// reads the disk once, for the sums of its blocks.
//
// # Restarts
//
// With Options.Keep the whole pool is stored in Options.Dir, and [Start] goes on
// from there.
//
// # Faults
//
// [Pool.Fail] lets the nth call of a method, or the nth transfer, fail with an
// error of the XenAPI, EVENTS_LOST among them; [Pool.Hang] lets it wait for ever,
// [Pool.Wedge] even when its task is cancelled; [Pool.Slow] takes its time, and
// [Pool.Idle] passes nothing for a while;
// [Pool.Break] cuts, resets or stalls a transfer or an answer at a byte, or puts
// an error page there; [Pool.Reply] answers something else, as a proxy does, or
// redirects; [Pool.Expire] ends sessions, of each kth call if need be;
// [Pool.Flood] makes everything appear changed; [Pool.Restart] and
// [Pool.MoveMaster] happen in the middle of a job. [Pool.ExpireSessions],
// [Pool.RestartHost] and [Pool.SetMaster] do the same at once. [Pool.Calls] shows
// what was called. Nothing is random, and a fault that never strikes fails
// [Pool.Close].
//
// # Leaks
//
// [Pool.Leaks] describes what a backup program has left behind, and Close fails
// when there is anything: a test need not ask. [Pool.Expect] names what is meant
// to stay.
//
// # Hosts
//
// Each host of Inventory.Hosts listens on an address of its own: 127.0.0.1,
// 127.0.0.2 and so on, at one port, since clients keep the port when they follow
// HOST_IS_SLAVE. A [MemoryListener] needs no addresses. [Pool.Hosts] has the URLs
// and, with Options.TLS, the certificates; [Pool.Transport] trusts them.
//
// # What is as on a real pool
//
//	RPC           JSON-RPC 2.0 and 1.0 at /jsonrpc: envelopes, error codes and parameters, argument
//	              checks, HTTP 500 in HTML for what is no call, 300 KiB per call, no chunked requests
//	              XML-RPC at / and every path without a handler: text and integers without a tag, names of
//	              members not escaped, control characters dropped, only the text 1 is true
//	              NaN and infinities as they are, in both
//	HTTP          header block of 1 KiB, 10 s between its lines and a minute for all of the first, 800 connections
//	              of a host, more wait; 401/403/404/408/431/501, replies mirror the version, Connection: close;
//	              the handler of the longest path that fits; one cookie, or several joined with &
//	hosts         slaves answer HOST_IS_SLAVE with the master's address and, when asked, the thumbprint of its
//	              certificate; transfers get a 302, their task left alone, when the host has no plugged PBD;
//	              TLS with a certificate for each host
//	sessions      500 of an originator, 400 anonymous ones, 24 idle hours; users who may only read
//	objects       the messages of every field of 23 classes (get, set, add_to, remove_from, add, remove,
//	              get_record, get_all_where, get_all_records_where, get_by_uuid, ...), without Async forms; back
//	              references, create with the fields that it requires, refs and uuids that change as on a pool
//	tasks         Async. calls, results as XML-RPC text, cancel, destroy of a pending one, 200 finished kept
//	              for 65 minutes, pending ones without work for a day
//	events        event.from with tokens, classes and single objects, event.inject; event.register, next and
//	              unregister; EVENTS_LOST beyond Options.EventQueue; delay and heartbeat by option; a restart
//	              takes tokens back
//	VMs           create, destroy, clone, copy, snapshot with ignore_vdis, checkpoint, revert also of one that is
//	              gone, start, stop, pause, suspend and resume with the memory in a disk, reboot, pool_migrate;
//	              allowed_operations, power states, blocked_operations, templates; VBDs, VIFs, VUSBs, VTPMs with
//	              contents; plug, unplug, insert and eject
//	disks         create (rounded up to 2 MiB), destroy, forget, clone, copy, snapshot, revert, resize,
//	              pool_migrate; VDI_IN_USE by what is attached; transfers attach to the control domain for all to see
//	exports       /export_raw_vdi as vhd-tool writes it, full and with base, and raw: the body ends with the
//	              connection, errors are a second answer in the body, the task ends after the body
//	imports       /import_raw_vdi of VHD (bitmaps honoured, differences applied), raw, and raw in chunks: 200
//	              before the body is read, the outcome only in the task, a refused body resets the connection
//	archives      /export and /import of machines as XVA: plain, gzip and zstd, preserve_power_state, restore and
//	              force, TPMs and memory images; HTTP/1.0 without a length out, 200 before the body in, codes
//	              IMPORT_ERROR_*; /export_metadata, /import_metadata and /pool/xmldbdump
//	chains        vhd-parent, hidden base copies, 30 VHDs at most (SR_BACKEND_FAILURE_109), coalescing at once
//	              or when told ([Pool.HoldCoalesce], [Pool.Coalesce]); raw storage takes no VHD, ISO no disk
//	CBT           enable_cbt, disable_cbt, inherited by snapshots; list_changed_blocks; data_destroy and
//	              what is refused after it
//	NBD           VDI.get_nbd_info where a network has a purpose for it; TLS or plain, a session in the export
//	              name, the disk attached to the control domain while connected, no more options than a host's
//	space         SR_FULL for repositories with a size, VDI_IO_ERROR when an import does not fit
//
// # What is not simulated
//
//	hosts         a slave sees what the master does at once; hosts do not join, leave, or fail with what runs on
//	              them; disks are attached to the control domain of the master, whichever host serves them
//	repositories  none is made or destroyed by a call; nor are networks, PBDs and messages
//	events        event.next tells of the last change of an object only, and counts changes, not bytes
//	transfers     tar and qcow2 formats, VM.import from an address; an archive with a wrong checksum is refused
//	              also with force; the dump of the database can be read by this kind of pool alone
//	storage       each disk is a file with all its content, whatever its chain says, so that space is an estimate;
//	              migration between pools, live or not
//	VMs           nothing runs in them; HA, appliances and memory ballooning are fields without effect
//	roles         none between the superuser and those who may only read
//
// A method that is not simulated fails with MESSAGE_METHOD_UNKNOWN, never with a
// made-up success.
package xapitest
