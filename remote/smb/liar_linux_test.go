package smb

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
)

// garbled flips one bit of what arrives, after a number of bytes.
type garbled struct {
	net.Conn
	after int
	bit   byte
}

func (g *garbled) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if g.after >= 0 && g.after < n {
		p[g.after] ^= g.bit
	}
	g.after -= n
	return n, err
}

// TestAGarbledAnswerNeverBecomesData flips one bit of the server's answers in each
// round. What is read is right, or nothing is.
func TestAGarbledAnswerNeverBecomesData(t *testing.T) {
	t.Parallel()
	s := testenv.StartSamba(t)
	content := noise(20_000)
	require.NoError(t, os.WriteFile(filepath.Join(s.Dir("data"), "f"), content, 0o666))
	random := rand.New(rand.NewPCG(1, 2))
	failed := 0
	for round := range 20 {
		at := random.IntN(2500) // the login and what follows
		if round%3 == 0 {
			at = random.IntN(20_000)
		}
		bit := byte(1) << random.IntN(8)
		dials := 0
		a := &remote.Address{Scheme: "smb", Host: "127.0.0.1", Port: s.Port, Username: s.User, Password: remote.Secret(s.Password), Path: []string{"data", "enc"}[round%2]}
		fsys, err := Open(t.Context(), a, &remote.Options{
			Timeout: 100 * time.Millisecond,
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				if dials++; dials > 1 {
					return nil, errors.New("once is enough")
				}
				conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
				return &garbled{conn, at, bit}, err
			},
		})
		if err != nil {
			failed++
			continue
		}
		if _, err := fsys.ReadDir(t.Context(), "."); err != nil {
			failed++
		}
		got, err := remote.ReadFile(t.Context(), fsys, "f", 1<<20)
		if err != nil {
			failed++
		} else {
			require.True(t, bytes.Equal(got, content), "round %d: byte %d, bit %#x", round, at, bit)
		}
		require.NoError(t, fsys.Close())
	}
	require.Positive(t, failed)
}
