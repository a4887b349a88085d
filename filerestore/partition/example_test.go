package partition_test

import (
	"bytes"
	"fmt"
	"log"

	"github.com/xenbackup/xenbackup/filerestore/partition"
)

func ExampleRead() {
	disk := make([]byte, 1<<20)
	copy(disk[446:], "\x80\x00\x00\x00\x83\x00\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00") // 512 sectors from 256 on
	copy(disk[510:], "\x55\xAA")
	table, err := partition.Read(bytes.NewReader(disk), int64(len(disk)), nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range table.Partitions {
		fmt.Println(table.Type, p.Number, p.Type, p.Off, p.Size)
	}
	// Output: mbr 1 0x83 131072 262144
}
