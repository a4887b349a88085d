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
// A VDI is one sparse raw file, named by its uuid, in Options.Dir. The file of a
// live disk may be written by anyone at any time, also while it is being
// snapshot: the snapshot is then one instant where the filesystem shares blocks
// (XFS, Btrfs), and a copy in ascending order elsewhere, as a running guest
// without flush would leave it. The file of a snapshot is never written again.
// [Pool.VDIPath] and [DiskInfo] give the paths.
//
// # Faults
//
// [Pool.Fail] lets the nth call of a method, or the nth transfer, fail with an
// error of the XenAPI, EVENTS_LOST among them; [Pool.Hang] lets it wait for ever,
// [Pool.Wedge] even when its task is cancelled; [Pool.Slow] takes its time;
// [Pool.Break] cuts, resets or stalls a transfer or an answer at a byte, or puts
// an error page there; [Pool.Expire] ends sessions, of each kth call if need be;
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
//	HTTP          header block of 1 KiB, 401/403/404/431/501, replies mirror the version, Connection: close;
//	              the handler of the longest path that fits
//	hosts         slaves answer HOST_IS_SLAVE with the master's address; transfers get a 302, their task left
//	              alone, when the host has no plugged PBD; TLS with a certificate for each host
//	sessions      500 of an originator, 400 anonymous ones, 24 idle hours; users who may only read
//	objects       the messages of every field of 23 classes (get, set, add_to, remove_from, add, remove,
//	              get_record, get_all_records_where, get_by_uuid, ...), back references, create with the
//	              fields that it requires, refs and uuids that change as on a pool
//	tasks         Async. calls, results as XML-RPC text, cancel, destroy of a pending one, 200 finished kept
//	              for 65 minutes, pending ones without work for a day
//	events        event.from with tokens, classes and single objects, event.inject; event.register, next and
//	              unregister with EVENTS_LOST; delay and heartbeat by option; a restart takes tokens back
//	VMs           create, destroy, clone, copy, snapshot with ignore_vdis, checkpoint, revert, start, stop,
//	              pause, suspend and resume with the memory in a disk, reboot; allowed_operations, power states, blocked_operations, templates; VBD plug and unplug, VIFs, VTPMs with contents
//	disks         create (rounded up to 2 MiB), destroy, clone, copy, snapshot, resize; VDI_IN_USE by what is
//	              attached; transfers attach to the control domain for all to see
//	exports       /export_raw_vdi as vhd-tool writes it, full and with base, and raw: the body ends with the
//	              connection, errors are a second answer in the body, the task ends after the body
//	imports       /import_raw_vdi of VHD (bitmaps honoured, differences applied) and raw: 200 before the
//	              body is read, the outcome only in the task, a refused body resets the connection
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
//	hosts         a slave sees what the master does at once; hosts do not join, leave, or lose a PBD's storage;
//	              disks are attached to the control domain of the master, whichever host serves them
//	events        event.next tells of the last change of an object only, and counts changes, not bytes
//	transfers     tar and qcow2 formats; an archive with a wrong checksum is refused also with force; the
//	              dump of the database can be read by this kind of pool alone
//	storage       chains of VHDs and their coalescing (each disk is a file of its own), CBT, copies and
//	              migration; exports with base compare contents, a host compares allocation and may send more
//	VMs           checkpoint, suspend, resume, revert, HA
//	roles         none between the superuser and those who may only read
//
// A method that is not simulated fails with MESSAGE_METHOD_UNKNOWN, never with a
// made-up success.
package xapitest
