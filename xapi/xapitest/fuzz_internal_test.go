package xapitest

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// What is read of a call in XML can be written, and is the same when read again.
func FuzzXMLCall(f *testing.F) {
	for _, inner := range []string{
		"<value>text</value>", "<value><int> 5 </int></value>", "<value><struct><member><name>a&amp;b</name><value><boolean>1</boolean></value></member></struct></value>",
		"<value><array><data><value><double>1e9</double></value></data></array></value>", "<value><nil/></value>",
	} {
		f.Add([]byte("<?xml version='1.0'?><methodCall><methodName>VM.get_all</methodName><params><param>" + inner + "</param></params></methodCall>"))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		name, params, err := parseXMLCall(body)
		if err != nil {
			if !errors.Is(err, errUnparsable) {
				t.Fatalf("%v: the host would not answer 500", err)
			}
			return
		}
		if strings.ContainsAny(name, "<&\r") {
			return // names of methods are not escaped
		}
		if _, err := xmlAnswer(name, params, nil); err != nil {
			t.Fatalf("%v cannot be written: %v", params, err)
		}
	})
}

// Whatever comes as the header of a request, it is read within its limit or
// refused.
func FuzzHeader(f *testing.F) {
	f.Add([]byte("GET /export_raw_vdi?vdi=OpaqueRef%3A1&session_id=x HTTP/1.1\r\nHost: a\r\nCookie: a=b&session_id=c\r\n\r\nrest"))
	f.Add([]byte("PUT /import HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"))
	f.Add([]byte("\r\n\r\n\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		in := bytes.NewReader(text)
		reader := bufio.NewReader(in)
		req, err := readHeader(reader, func() {})
		if err != nil {
			return
		}
		if used := len(text) - in.Len() - reader.Buffered(); used > maxHeader {
			t.Fatalf("a header of %d bytes", used)
		}
		x := &exchange{req: req}
		_, _ = x.length()
		_ = parameter(req, "session_id")
		_, _, _ = req.BasicAuth()
	})
}

// A VHD that comes as a stream writes nothing outside the disk.
func FuzzVHDInput(f *testing.F) {
	stream := append(vhdFooter(blockSize, false, [16]byte{1}), vhdHeader(blockSize, nil)...)
	stream = append(stream, make([]byte, batOffset-len(stream))...)
	stream = append(stream, vhdTable(blockSize, []uint32{0})...)
	stream = append(stream, make([]byte, sectorSize)...)
	f.Add(stream)
	small := bytes.Clone(stream)
	binary.BigEndian.PutUint32(small[footerSize+32:], sectorSize)
	binary.BigEndian.PutUint32(small[footerSize+28:], 3)
	f.Add(append(small, vhdFooter(blockSize, false, [16]byte{1})...))
	store, err := openDiskStore(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		const size = 3 * sectorSize
		store.create("disk", size)
		defer func() { _ = store.remove("disk") }()
		file, err := store.writer("disk")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = file.Close() }()
		w := &diskWriter{file: file, size: size, free: -1}
		_ = store.readVHD(bytes.NewReader(text), w, int64(len(text)), func(int, int) {})
		info, err := os.Stat(store.path("disk"))
		if err != nil || info.Size() != size {
			t.Fatalf("%v, %v", info.Size(), err)
		}
	})
}

// What get_all_records_where cannot read is refused, and what it can compares.
func FuzzWhere(f *testing.F) {
	f.Add(`field "name__label" = "x" and not (true or field "a" = "b")`)
	f.Add(`((((`)
	f.Fuzz(func(t *testing.T, expr string) {
		match, err := parseWhere(expr)
		if err == nil {
			match(record{"name_label": "x", "tags": []string{"a"}})
		}
	})
}

// A dump that can be read is the same when it is written and read again.
func FuzzDump(f *testing.F) {
	for _, value := range []string{"x", "('a' 'b\\'c')", "(('k' 'v'))", ""} {
		f.Add(value, value)
	}
	f.Fuzz(func(t *testing.T, set, dict string) {
		list, members := words(set), words(dict)
		if got := words(quoted(list)); !reflect.DeepEqual(got, list) {
			t.Fatalf("%q is %q", list, got)
		}
		if len(members)%2 == 0 {
			_ = dumpValue(list)
		}
		text := fmt.Sprintf(`<database><table name="pool"><row ref="r" tags=%q other_config=%q/></table></database>`, set, dict)
		_, _ = parseDump([]byte(text))
	})
}

// A state that is no state is refused.
func FuzzKept(f *testing.F) {
	f.Add([]byte(`{"version":1,"objects":{"pool":[{"ref":"p","record":{"master":"h"}}],"host":[{"ref":"h","record":{"address":"127.0.0.1",` +
		`"enabled":true,"tags":["a"],"API_version_major":2}}]},"tracking":{"u":{"position":1,"sums":[1]}},"certificates":{"h":{"key":"eA=="}}}`))
	f.Add([]byte(`{"version":1,"objects":{"pool":[{}],"host":[{}]}}`))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(filepath.Join(dir, StateFile), text, 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := recall(dir)
		if err != nil {
			return
		}
		if len(k.Objects["pool"]) != 1 || len(k.hosts()) == 0 {
			t.Fatal("no pool")
		}
		_, _ = k.certificate(0)
	})
}
