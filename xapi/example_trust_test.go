package xapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/xenbackup/xenbackup/xapi"
)

// A host's certificate is looked at once, compared with what the host's console shows, and pinned.
func ExampleFetchFingerprint() {
	ctx := context.Background()
	host := httptest.NewTLSServer(http.NotFoundHandler()) // stands for a host
	defer host.Close()

	shown, err := xapi.FetchFingerprint(ctx, host.URL, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(shown.Certificate), shown.Names[0])

	// Later, another certificate is there.
	_, err = xapi.Dial(ctx, host.URL, &xapi.Options{
		Password: "secret",
		Pins:     map[string][]xapi.Fingerprint{"127.0.0.1": {"sha256:0000000000000000000000000000000000000000000000000000000000000000"}},
	})
	var changed *xapi.FingerprintError
	fmt.Println(errors.As(err, &changed) && changed.Got == shown.Certificate)
	// Output:
	// 71 example.com
	// true
}
