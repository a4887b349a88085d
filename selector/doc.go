// Package selector chooses the VMs that a job backs up: by the patterns of Xen
// Orchestra's smart mode, by its query language, or by a list of ids.
//
// A selection is made when a job runs, of what is there then ([Selector.Select]).
// It says what it leaves out though it matches, and what it cannot know: a listed
// VM that is gone, a pool that is not connected and might hold VMs that fit, and
// that nothing matches at all. [Selector.Explain] gives the reason for one VM in a
// sentence, and [Coverage] the VMs that no job backs up.
//
// # Patterns
//
// A [Pattern] is the JSON that Xen Orchestra stores with a job:
//
//	"x", 1, true, null          the same value
//	["x", P]                    a list in which some element fits each of these
//	{"key": P, "key2": P}       an object whose properties are there and fit
//	{"__and": [P, P]}           all fit; an empty list does
//	{"__or": [P, P]}            one fits; an empty list does not
//	{"__not": P}                does not fit; but as the value of a key, the key must be there
//
// So {"tags": {"__or": [["a"], ["b"]]}} asks for one of two tags, {"tags": ["a", "b"]}
// for both. {"id": "u"} and {"id": {"__or": ["u", "v"]}} are lists of ids.
//
// # Queries
//
// A [Query] is what people type. Terms follow each other, and all must hold:
//
//	web            a string with this text in it, upper or lower case; also within lists and objects
//	"web 1"        the same, for text with other characters than letters, digits, _ - . $ (\ quotes the next)
//	42             the number, or text with it
//	web*prod       text with these parts in this order
//	/^web\d$/i     text that fits a regular expression; i is for upper or lower case
//	>=4  <10       a number within the limit
//	name:term      the term holds for this property; name:inner:term for one of its own
//	name?          the property is there, and not false, 0, "" or null
//	!term          the term does not hold
//	|(a b)         one of the terms holds
//	(a b)          all hold
//
// For example: power_state:running tags:|(/^prod$/ /^db$/) !tags:/^test$/ memory:size:>1000000000.
// An empty query fits everything.
//
// Queries mean what they mean to Xen Orchestra, except that a quote must be closed,
// letters without case need no quotes, \\ in a regular expression is a backslash
// also before /, and that regular expressions are Go's, which take linear time and
// know neither look-around nor back references. Properties that every JavaScript
// object inherits, such as toString, do not exist here.
//
// # What is never chosen
//
//   - What is not a VM: snapshots, templates, control domains.
//   - A replica that the job itself has made, or it would be replicated in turn.
//   - A VM tagged xo:no-bak or xo:no-bak=reason. Xen Orchestra's manual says so for
//     all jobs, and here it holds for listed VMs too, unless
//     [Options].ListedNoBackup is set; its program heeds the tag for patterns alone.
//
// [NoBackupDisk] is the rule for single disks.
//
// # The shape of a VM
//
// A [VM] has the properties of Xen Orchestra's object, so that its patterns fit. The
// package itself reads
//
//	type               "VM"; "VM-snapshot", "VM-template", "VM-controller" are others
//	id, or uuid        the uuid
//	name_label         for reasons and order
//	$pool, $poolId     uuid of the pool; patterns about them tell which pools matter
//	tags               list of strings
//	other              other_config: xo:backup:job tells whose replica it is
//	blockedOperations  of a replica it has start
//
// and patterns and queries may ask for any other. Those that people use are
//
//	power_state           "Running", "Halted", "Paused", "Suspended"
//	$container            uuid of the host it runs on, else of the pool
//	name_description      text
//	os_version            object with name, distro, major, uname
//	memory:size           bytes
//	CPUs:number           virtual CPUs
//	virtualizationMode    "hvm", "pv", ...
//	mainIpAddress         text
//	addresses             object of texts
//	auto_poweron          boolean
//	high_availability     text
//	startDelay            seconds
//
// # Concurrency
//
// All types are immutable once made and may be used by several goroutines; the maps
// and lists of VMs are only read.
package selector
