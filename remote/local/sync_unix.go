//go:build unix

package local

import "os"

func syncDir(root *os.Root, local string) error {
	d, err := root.Open(local)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
