package xapitest

import "context"

func (p *Pool) hostMethods() map[string]*method {
	return map[string]*method{
		"host.get_servertime": syncOnly("host:ref", func(_ context.Context, c *call) (any, error) {
			_, err := p.db.record("host", c.str(0))
			return p.now(), err
		}),
	}
}
