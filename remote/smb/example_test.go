package smb_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/smb"
)

// A person who gets an error reads which part of the address to mend.
func Example() {
	u, err := url.Parse("smb://OFFICE;backup@127.0.0.1:1/xo/vms")
	if err != nil {
		fmt.Println(err)
		return
	}
	fsys, err := smb.OpenURL(context.Background(), u, &remote.Options{Password: "from the key store"})
	if unreachable, ok := errors.AsType[*remote.UnreachableError](err); ok {
		fmt.Println("check the", unreachable.Part, unreachable.Name, errors.Is(err, remote.ErrUnavailable))
		return
	}
	defer fsys.Close()
	fmt.Println(remote.WriteFile(context.Background(), fsys, "hello.txt", []byte("hello")))
	// Output: check the host 127.0.0.1:1 true
}
