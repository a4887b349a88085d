package xapitest

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
}

// SR is a storage repository.
type SR struct {
	Name   string
	Type   string // as in the XenAPI: "ext", "nfs", "lvm", ...; "" = "ext"
	Size   int64  // bytes; 0 = never full
	Shared bool   // all hosts see it, else the master alone
}

// Network is a network with one physical interface on each host.
type Network struct {
	Name   string
	Bridge string // "" = xenbr and its position
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
