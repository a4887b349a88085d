// Package benchpool runs a simulated pool in a process of its own, so that what is
// measured beside it is charged for nothing that a pool does.
//
// The program calls [Start], which runs the program itself as a child, and the child
// calls [Serve]. They talk in lines: the child says where the pool is, and then answers
// what it is asked for with [Process.Ask].
package benchpool

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/xenbackup/xenbackup/internal/bench"
	"github.com/xenbackup/xenbackup/xapi"
)

// Address is where a pool is, and what is on it.
type Address struct {
	URL, Username, Password string
	VMs                     []string // uuids
}

// ParseAddress decodes what [Process.Address] returned.
func ParseAddress(text string) (a Address, err error) {
	err = json.Unmarshal([]byte(text), &a)
	return a, err
}

// Dial logs in to the pool.
func (a *Address) Dial(ctx context.Context) (*xapi.Client, error) {
	return xapi.Dial(ctx, a.URL, &xapi.Options{Username: a.Username, Password: xapi.Secret(a.Password)})
}

// Process is a pool that runs.
type Process struct {
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	stdout  *bufio.Reader
	address string
}

// Start runs this program as a child with these arguments, which makes it call Serve,
// and returns when the pool is there. It ends with ctx, or at Stop.
func Start(ctx context.Context, args ...string) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &Process{cmd: exec.CommandContext(ctx, self, append([]string{bench.ChildArg}, args...)...)}
	p.cmd.Stderr = os.Stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.stdout = bufio.NewReader(stdout)
	if p.address, err = p.line(); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

// Address is one word for the command line of another child; see [ParseAddress].
func (p *Process) Address() string { return p.address }

// Ask has the pool's process do something, and waits until it is done.
func (p *Process) Ask(question string) error {
	if _, err := fmt.Fprintln(p.stdin, question); err != nil {
		return err
	}
	answer, err := p.line()
	if err == nil && answer != answerDone {
		err = fmt.Errorf("benchpool: %s: %s", question, answer)
	}
	return err
}

func (p *Process) line() (string, error) {
	line, err := p.stdout.ReadString('\n')
	return strings.TrimSuffix(line, "\n"), err
}

// Stop ends the pool, whose files go with it.
func (p *Process) Stop() error { return errors.Join(p.stdin.Close(), p.cmd.Wait()) }
