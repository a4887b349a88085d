package clusters

// Heap is where the clusters of a volume are, and what follows each. Clusters
// are numbered from 2.
type Heap struct {
	*Device
	Off   int64  // of cluster 2, in the volume
	Size  int64  // of a cluster, in bytes
	Count uint32 // of clusters

	// Next returns what the table says of a cluster of this heap: the next one,
	// 0 at the end of the chain, and an error for marks of bad and free ones.
	// What lies outside the heap is found by who follows.
	Next func(w *Window, c uint32) (uint32, error)

	chains chains
}

// Contains tells that there is such a cluster.
func (h *Heap) Contains(c uint32) bool { return c >= 2 && c-2 < h.Count }

// Offset returns where a cluster begins in the volume.
func (h *Heap) Offset(c uint32) int64 { return h.Off + int64(c-2)*h.Size }

// Clusters returns how many clusters n bytes need.
func (h *Heap) Clusters(n int64) int64 {
	c := n / h.Size
	if n%h.Size != 0 {
		c++
	}
	return c
}

// Map finds the clusters of a file that begins at a cluster of the heap.
// Without chain they follow each other: then there are as many as size needs.
func (h *Heap) Map(first uint32, contiguous bool, size int64) (Mapping, error) {
	if !h.Contains(first) {
		return nil, h.Corrupt("chain", -1, "begins at cluster %d of %d", first, h.Count)
	}
	if !contiguous {
		return h.chains.get(h, first), nil
	}
	n := h.Clusters(size)
	if n > int64(h.Count-(first-2)) {
		return nil, h.Corrupt("clusters", h.Offset(first), "%d of them from cluster %d, and the volume ends at %d", n, first, h.Count+2)
	}
	return run{cluster: first, count: uint32(n)}, nil
}

// Mapping says where the clusters of a file are.
type Mapping interface {
	// at returns a run with cluster i of the file in it; io.EOF where the file
	// has fewer clusters.
	at(i uint32) (run, error)
}

// run is clusters of a file that follow each other on disk.
type run struct {
	index   uint32 // of the first one, in the file
	cluster uint32
	count   uint32
}

func (r run) contains(i uint32) bool { return i >= r.index && i-r.index < r.count }

func (r run) at(i uint32) (run, error) {
	if !r.contains(i) {
		return run{}, errEnd
	}
	return r, nil
}
