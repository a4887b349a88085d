package progress

import (
	"fmt"
	"strings"
	"time"
)

// Line shows a text in the line that is rewritten, on a terminal alone, and not more
// often than somebody can read.
func (p *Printer) Line(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if !p.terminal || now.Sub(p.drawn) < redraw {
		return
	}
	p.drawn = now
	fmt.Fprintf(p.w, "\r%s%s", text, strings.Repeat(" ", max(0, p.length-len(text))))
	p.length = len(text)
}
