package benchpool

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

const answerDone = "done"

// Options of [Serve]; nil is fine.
type Options struct {
	Prepare func(pool *xapitest.Pool) error                  // before anybody hears of the pool
	Ask     func(pool *xapitest.Pool, question string) error // does what Process.Ask asks for
}

// Serve runs a pool whose disks are files in dir, until the program that started it
// goes or calls Stop.
func Serve(inv xapitest.Inventory, dir string, opts *Options) (err error) {
	if opts == nil {
		opts = &Options{}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	pool, err := xapitest.Start(inv, &xapitest.Options{Dir: dir})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	if opts.Prepare != nil {
		if err := opts.Prepare(pool); err != nil {
			return err
		}
	}
	at := Address{URL: pool.URL(), Username: pool.Username(), Password: pool.Password()}
	for _, vm := range pool.VMs() {
		at.VMs = append(at.VMs, vm.UUID) // and the files of its disks are made
	}
	text, err := json.Marshal(at)
	if err != nil {
		return err
	}
	fmt.Printf("%s\n", text)
	questions := bufio.NewScanner(os.Stdin)
	for questions.Scan() {
		fmt.Println(opts.answer(pool, questions.Text()))
	}
	return questions.Err()
}

func (o *Options) answer(pool *xapitest.Pool, question string) string {
	if o.Ask == nil {
		return "nothing can be asked for"
	}
	if err := o.Ask(pool, question); err != nil {
		return err.Error()
	}
	return answerDone
}
