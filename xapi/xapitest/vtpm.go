package xapitest

import "context"

func (p *Pool) vtpmMethods() map[string]*method {
	return map[string]*method{
		"VTPM.create":  both("vM:ref is_unique:bool", p.vtpmCreate),
		"VTPM.destroy": both("self:ref", p.vtpmDestroy),
		"VTPM.get_contents": both("self:ref", func(_ context.Context, c *call) (any, error) {
			if _, err := p.db.record("VTPM", c.str(0)); err != nil {
				return nil, err
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.vtpms[c.str(0)], nil
		}),
		"VTPM.set_contents": both("self:ref contents:string", func(_ context.Context, c *call) (any, error) {
			if _, err := p.db.record("VTPM", c.str(0)); err != nil {
				return nil, err
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			p.vtpms[c.str(0)] = c.str(1)
			return nil, nil //nolint:nilnil // void
		}),
	}
}

// vtpmCreate gives a halted VM its only TPM.
func (p *Pool) vtpmCreate(_ context.Context, c *call) (any, error) {
	var ref string
	err := p.db.update(func(tx tx) error {
		if err := tx.power(c.str(0), "Halted"); err != nil {
			return err
		}
		vm, err := tx.record("VM", c.str(0))
		if err != nil {
			return err
		}
		if len(vm.set("VTPMs")) > 0 {
			return fail("VTPM_MAX_AMOUNT_REACHED", "1")
		}
		ref = tx.create("VTPM", record{"VM": c.str(0), "is_unique": c.bool(1)})
		return nil
	})
	return ref, err
}

func (p *Pool) vtpmDestroy(_ context.Context, c *call) (any, error) {
	p.mu.Lock()
	delete(p.vtpms, c.str(0))
	p.mu.Unlock()
	return nil, p.destroyObject("VTPM", c.str(0))
}

// copyContents gives a TPM the contents of another.
func (p *Pool) copyContents(from, to string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.vtpms[to] = p.vtpms[from]
}
