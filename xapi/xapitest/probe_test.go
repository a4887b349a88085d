package xapitest_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// Xen Orchestra first uploads nothing, to learn which host takes the disk, leaves as
// soon as it has the header of the answer, and uploads at once. The second upload
// never finds the disk in use by the first.
func TestUploadOfNothingIsNotInTheWayOfTheNext(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, xapitest.Inventory{})
	c := p.Client(t)
	disk, _ := newDisk(t, p, c, 2*mib)
	content := strings.Repeat("x", 2*mib)
	put := func(query, body string) net.Conn {
		var d net.Dialer
		conn, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(p.URL(), "http://"))
		require.NoError(t, err)
		_, err = fmt.Fprintf(conn, "PUT /import_raw_vdi/?format=raw&vdi=%s%s HTTP/1.1\r\nAuthorization: Basic cm9vdDpzaW11bGF0ZWQtc2VjcmV0\r\nContent-Length: %d\r\n\r\n", disk, query, len(body))
		require.NoError(t, err)
		go func() { _, _ = io.WriteString(conn, body) }()
		line, err := bufio.NewReader(io.LimitReader(conn, 15)).ReadString(' ')
		require.NoError(t, err)
		require.Equal(t, "HTTP/1.1 ", line)
		return conn
	}
	for range 100 {
		require.NoError(t, put("", "").Close())
		ref := task(t, c)
		conn := put("&task_id="+ref, content)
		rec := finished(t, c, ref)
		require.Equal(t, "success", rec.Status, "%v", rec.ErrorInfo)
		_, err := io.Copy(io.Discard, conn)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		require.NoError(t, c.Call(t.Context(), "task.destroy", nil, xapi.Ref[xapi.Task](ref)))
	}
}
