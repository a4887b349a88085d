package main

import "github.com/xenbackup/xenbackup/xapi/xapitest"

// description is the line of JSON that tells other programs what there is.
type description struct {
	URL      string   `json:"url"`
	Username string   `json:"username"`
	Password string   `json:"password"`
	Pool     string   `json:"pool"`
	Hosts    []string `json:"hosts"`
	SRs      []sr     `json:"srs"`
	VMs      []vm     `json:"vms"`
}

type sr struct {
	UUID      string `json:"uuid"`
	NameLabel string `json:"name_label"`
}

type vm struct {
	UUID      string `json:"uuid"`
	NameLabel string `json:"name_label"`
	Disks     []disk `json:"disks"`
}

type disk struct {
	VDI  string `json:"vdi"`
	Path string `json:"path"`
	Size int64  `json:"size"`
}

func describe(pool *xapitest.Pool) description {
	d := description{
		URL: pool.URL(), Username: pool.Username(), Password: pool.Password(),
		Pool: pool.UUID(), Hosts: []string{}, SRs: []sr{}, VMs: []vm{},
	}
	for _, one := range pool.Hosts() {
		d.Hosts = append(d.Hosts, one.UUID)
	}
	for _, one := range pool.SRs() {
		d.SRs = append(d.SRs, sr{UUID: one.UUID, NameLabel: one.Name})
	}
	for _, one := range pool.VMs() {
		machine := vm{UUID: one.UUID, NameLabel: one.Name, Disks: []disk{}}
		for _, attached := range one.Disks {
			machine.Disks = append(machine.Disks, disk{VDI: attached.UUID, Path: attached.Path, Size: attached.Size})
		}
		d.VMs = append(d.VMs, machine)
	}
	return d
}
