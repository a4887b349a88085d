// Package xapi is a client of the XenAPI, the management interface of XCP-ng and XenServer pools: calls, records, tasks and disk
// transfers, as far as backup and restore need them.
//
// # Calls and records
//
// [Dial] logs in. [Client.Call] makes one call, [Client.CallAsync] makes one that may take minutes or hours as a task, which it
// waits for, and cancels when the context ends. [Get], [ByUUID] and [All] read records:
//
//	vm, err := xapi.ByUUID[xapi.VM](ctx, client, uuid)
//	record, err := xapi.Get(ctx, client, vm)
//	srs, err := xapi.All[xapi.SR](ctx, client)
//
// A [Ref] knows its class, so a reference to a VM cannot be passed for one to a disk. Records have the fields' names of the wire in
// their JSON form, enumerations are strings, a date is a [Time]. What a record does not know, from a newer pool or from a
// repository, stays in its Extra and is written again; a nil entry there says that a known field was absent, and keeps it absent as
// long as the field is zero. A record literal with Extra nil marshals all its fields, nil maps as {} and empty references as
// OpaqueRef:NULL, which is what the pool's create calls want.
//
// # Events, the inventory and features
//
// [Client.Watch] iterates over what happens in the pool. It starts anew, visibly, whenever something may have been missed, so that a
// loop over it stays true for months. [Client.Inventory] keeps a cache of the pool on top of that: consistent snapshots by reference
// and by UUID, and with [Inventory.Sync] a barrier after which the cache has all that the pool did before. 10,000 VMs with two disks
// and an interface each take 50 MiB.
//
//	inventory, err := client.Inventory(ctx)
//	defer inventory.Close()
//	err = inventory.Sync(ctx)
//	ref, vm := inventory.Snapshot().VMs.ByUUID(uuid)
//
// [Client.Features] says what the pool can do, by its versions and licences and by harmless questions.
//
// # Transfers
//
// [Client.ExportVDI] and [Client.ImportVDI] move a disk as a VHD stream or raw, [Client.ExportVM] and [Client.ImportVM] a whole VM as
// an XVA archive, [Client.ExportMetadata], [Client.ImportMetadata] and [Client.DumpDatabase] what a pool knows without any disk. The end
// of a connection proves nothing about a transfer: hosts report success before they have read, and end a failed export as if it were
// complete. What counts is the task that accompanies each transfer; [Download.Finish] and the imports return nil only when it says
// success, and when a raw disk has its size, a dump its end, an import its VM. That the bytes make a complete VHD or archive is for
// packages vhd and xva to prove: a restore point needs both.
//
// Nothing waits for ever: transfers have a watchdog that counts bytes, [Options].StallTimeout. Only CallAsync, and Call of what is
// not a getter, wait as long as ctx allows, because the pool may.
//
// # Errors
//
// What the pool refuses is an [*Error], compared by code: errors.Is(err, xapi.ErrVDIInUse). Trouble on the way is [ErrUnreachable],
// [ErrConnectionLost], [ErrProtocol], [ErrStalled] or [ErrTruncated], with the host's name. The end of a context is reported by its
// cause. No error, and nothing that is logged, shows a password, a session or a URL with one. Only what a host sends without being asked
// is out of reach: net/http quotes it to the standard logger of package log, and a hostile host can repeat there what it was told.
//
// # Sessions
//
// A client that has lost its session logs in again, once, however many calls notice; a slave's address leads to the master.
// Connections are kept and reused; when one turns out to be dead, a getter is repeated, and anything else only if none of it was
// sent.
//
// When the master cannot be reached, the hosts that the pool named before are asked where it is now, by calls as by watches and inventories;
// with pins only those that are pinned, and none that has left the pool. Transfers go on by the session they began with, which ends with
// the last of them. What the pool refuses for the moment, because it boots, is busy, or does something else with the object, is repeated
// with growing pauses as [Options].Retry says; never when repeating it could do anything twice: a task that has failed may have done half
// of its work, one that was never made has not. A login that is cut off is waited for shortly, to log out again.
//
// # Trust
//
// Nothing is said to a host, no password and no session, before it has proven itself: by a certificate that the system's authorities
// or Options.ExtraCAs have signed, or by one that Options.Pins names. Hosts come with certificates they have signed themselves;
// [FetchFingerprint] shows one, to be compared on the host's console and pinned. A pinned certificate that has changed is a
// [FingerprintError] with both fingerprints. Every host proves itself by its own, also behind HOST_IS_SLAVE and redirects, which are never
// followed from https to http, nor, with a session, to a host that is none of the pool or to a port that is not its API's.
//
// Options.TransferNetwork keeps disks and archives to one network of the pool, such as the backup network that Xen Orchestra keeps in
// the pool's other_config. Options.Metrics counts calls, bytes, retries and waits.
//
// # Protocols
//
// Calls are JSON-RPC 2.0 or, where a pool does not have that, XML-RPC; [Dial] finds out. Integers are exact over all 64 bits in both, and
// records are the same: XML-RPC as pools write it has no integers, but it is known which fields are. An integer field of a pool newer
// than API version 2.23 comes as text over XML-RPC. What it cannot say, such as a control character, is [ErrNotEncodable]. NaN and the
// infinities, which JSON cannot say and pools send nevertheless, read as zero.
package xapi
