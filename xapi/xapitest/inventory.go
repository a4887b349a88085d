package xapitest

import "fmt"

// Inventory describes the pool to simulate. The zero Inventory is a pool of one
// host with one storage repository, one network and no virtual machines.
type Inventory struct {
	Name     string    // of the pool
	Hosts    []Host    // the first one is the master; none means one
	SRs      []SR      // the first one is the pool's default; none means one of type ext, unlimited
	Networks []Network // none means one
	VMs      []VM
}

// Host is a server of the pool. Each one listens on an address of its own.
type Host struct {
	Name string
	// Address is the management address, which the host object shows, and to
	// which a slave and a redirect refer; "" = that of Options.Listen for the
	// first host, and 127.0.0.2 and so on for the others.
	Address string
	// Listen is the TCP address where a host other than the first listens, if
	// it is not Address at the port of the first host: clients follow
	// HOST_IS_SLAVE to the port that they have used. Systems other than Linux
	// have to be told about addresses such as 127.0.0.2.
	Listen string
	// Xapi is the version of xapi, "" = 25.6. Below 20 the host guards the
	// chunks of archives with SHA-1, and does not know another way.
	Xapi string
}

// SR is a storage repository.
type SR struct {
	Name   string
	Type   string   // as in the XenAPI: "ext", "nfs", "lvm", ...; "" = "ext"
	Size   int64    // bytes; 0 = never full
	Shared bool     // all hosts see it, else the first host alone
	Hosts  []string // names of the hosts that see it instead
}

// Network is a network with one physical interface on each host.
type Network struct {
	Name   string
	Bridge string // "" = xenbr and its position
	VLAN   int    // tag on the first network's interfaces; 0 = an interface of its own
}

// VM is a virtual machine.
type VM struct {
	Name        string
	Description string
	PowerState  string // Halted, Running, Paused or Suspended; "" = Halted
	Memory      int64  // bytes; 0 = 1 GiB
	VCPUs       int    // 0 = 1
	Tags        []string
	OtherConfig map[string]string
	Disks       []Disk
	VIFs        []VIF

	Host              string            // name of the one where it runs; "" = the master
	Template          bool              // it is one, and cannot be started
	Guest             *Guest            // what the guest's agent reports; nil = there is none
	VTPM              string            // contents of its TPM; "" = it has none
	NVRAM             map[string]string // what UEFI keeps; it boots with UEFI if there is any
	BlockedOperations map[string]string // operation to reason
	Snapshots         []string          // names of snapshots that it has, oldest first
}

// Guest is what the agent within a virtual machine tells its host.
type Guest struct {
	OS        string            // such as "Debian GNU/Linux 12 (bookworm)"
	Drivers   string            // version of the drivers, such as "8.4.0"; "" = it has none
	Addresses map[string]string // by their names in the XenAPI, such as "0/ip"
}

// Fleet returns n virtual machines for tests of scale, always the same: vm-00001
// and so on, most of them running, each with one disk of 64 MiB on the first
// repository and one interface. Every tenth has the tag "gold".
func Fleet(n int) []VM {
	vms := make([]VM, n)
	for i := range vms {
		vms[i] = VM{
			Name: fmt.Sprintf("vm-%05d", i+1), PowerState: []string{"Running", "Halted", "Running", "Paused", "Running"}[i%5],
			Disks: []Disk{{Name: "root", Size: 64 << 20, Bootable: true}}, VIFs: []VIF{{}},
		}
		if i%10 == 9 {
			vms[i].Tags = []string{"gold"}
		}
	}
	return vms
}

// Disk is a disk of a virtual machine.
type Disk struct {
	Name     string
	SR       string // name of an SR; "" = the first
	Size     int64  // bytes, rounded up to 512; 0 = as large as Content
	Content  string // path of a raw image that is copied, holes kept; "" = zeros
	Bootable bool
}

// VIF is a network interface of a virtual machine.
type VIF struct {
	Network string // name of a Network; "" = the first
	MAC     string // "" = random
}
