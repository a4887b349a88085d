package xapitest

// NewPoolWith is [NewPool] with options. Dir is a directory of the test unless
// it is given.
func NewPoolWith(tb TB, inv Inventory, opts *Options) *Pool {
	tb.Helper()
	var all Options
	if opts != nil {
		all = *opts
	}
	if all.Dir == "" {
		all.Dir = tb.TempDir()
	}
	p, err := Start(inv, &all)
	if err != nil {
		tb.Fatalf("start a simulated pool: %v", err)
	}
	tb.Cleanup(func() {
		if err := p.Close(); err != nil {
			tb.Errorf("close the simulated pool: %v", err)
		}
	})
	return p
}
