package fsys

import (
	"fmt"
	"strconv"
	"strings"
)

// NodeID names a file of any type within one volume, for as long as the volume
// does not change: across processes, and across the backups of one disk where
// the format keeps its inodes. It says nothing about another volume.
type NodeID struct {
	Tree   uint64 // subvolume where the format has several; else 0
	Number uint64 // inode, file record, or place of the directory entry
}

// String returns the id in the form that [ParseNodeID] reads: "12", or "5:257"
// in a subvolume.
func (id NodeID) String() string {
	if id.Tree == 0 {
		return strconv.FormatUint(id.Number, 10)
	}
	return strconv.FormatUint(id.Tree, 10) + ":" + strconv.FormatUint(id.Number, 10)
}

// ParseNodeID reads what [NodeID.String] wrote. Whether such a node exists is
// seen when it is used.
func ParseNodeID(s string) (NodeID, error) {
	var id NodeID
	tree, number, two := strings.Cut(s, ":")
	if !two {
		tree, number = "0", s
	}
	var err error
	if id.Tree, err = strconv.ParseUint(tree, 10, 64); err != nil {
		return NodeID{}, fmt.Errorf("fsys: node id %q: %w", s, err)
	}
	if id.Number, err = strconv.ParseUint(number, 10, 64); err != nil {
		return NodeID{}, fmt.Errorf("fsys: node id %q: %w", s, err)
	}
	return id, nil
}
