package nfs

import "context"

const (
	portPortmap = 111
	portNFS     = 2049

	procGetPort = 3
	protocolTCP = 6
)

// lookUpPort asks the host's portmapper (RFC 1833, version 2) for the TCP port of
// a program. 0 means that the program is not registered.
func (m *mounter) lookUpPort(ctx context.Context, program, version uint32) (int, error) {
	var port int
	err := m.with(ctx, portPortmap, func(c *conn) error {
		k := m.calls.get(nil, programPortmap, versionPortmap, procGetPort)
		for _, v := range [...]uint32{program, version, protocolTCP, 0} {
			k.e.uint32(v)
		}
		if err := c.roundTrip(ctx, k); err != nil {
			return err
		}
		d, err := k.result()
		if err != nil {
			return err
		}
		port, err = decodePort(d)
		return err
	})
	return port, err
}

func decodePort(d *decoder) (int, error) {
	port := d.uint32()
	if err := d.end(); err != nil {
		return 0, err
	}
	if port > 65535 {
		return 0, violation("port %d", port)
	}
	return int(port), nil
}
