package xapitest

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// maxDump bounds the dump that is read.
const maxDump = 256 << 20

// getDump serves GET /pool/xmldbdump: the database as XML, of which clients
// should know no more than that a pool can read it again.
func (p *Pool) getDump(ctx context.Context, x *exchange) {
	t := p.openTransfer(ctx, x, dumpRequest)
	if t == nil {
		return
	}
	t.run(ctx, func(ctx context.Context) (string, error) {
		if err := x.begin("task-id: "+t.task, "content-type: text/xml"); err != nil {
			return "", fail("CLIENT_ERROR", err.Error())
		}
		var err error
		if t.fault != nil && t.fault.err != nil {
			err = t.fault.err
			x.html(http.StatusInternalServerError)
		} else {
			err = t.send(ctx, p.dump())
		}
		_ = x.conn.Close()
		return "", transferFailure(ctx, err)
	})
}

// putDump serves PUT /pool/xmldbdump: the pool becomes what the dump says, and
// its toolstack restarts. With dry_run it only looks.
func (p *Pool) putDump(ctx context.Context, x *exchange) {
	t := p.openTransfer(ctx, x, restoreRequest)
	if t == nil {
		return
	}
	dry := false
	t.run(ctx, func(ctx context.Context) (_ string, err error) {
		if wantsChunked(x.req) {
			return t.refuse(http.StatusForbidden, fail("INTERNAL_ERROR", "Cannot handle encoding"))
		}
		if dry, err = flag(x.req.URL.Query().Get("dry_run"), false); err != nil {
			return t.refuse(http.StatusInternalServerError, err)
		}
		if err := x.begin("task-id: " + t.task); err != nil {
			return "", fail("CLIENT_ERROR", err.Error())
		}
		body, err := io.ReadAll(io.LimitReader(t.archiveBody(ctx), maxDump))
		if err == nil && t.fault != nil && t.fault.err != nil {
			err = t.fault.err
		}
		if err != nil {
			return "", transferFailure(ctx, err)
		}
		rows, err := parseDump(body)
		if err == nil && !dry {
			err = p.load(rows)
		}
		if err != nil {
			x.html(http.StatusInternalServerError)
			return "", fail("RESTORE_INCOMPATIBLE_VERSION")
		}
		return "", nil
	})
	if task, err := p.db.record("task", t.task); err == nil && !dry && task.str("status") == "success" {
		p.ExpireSessions()
	}
}

// dumped says whether the objects of a class outlive a restart.
func dumped(class string) bool { return class != "session" && class != "task" }

// dump writes all objects, in order.
func (p *Pool) dump() []byte {
	var b bytes.Buffer
	b.WriteString(`<?xml version="1.0"?><database><manifest><pair key="schema_major_vsn" value="5"/>` +
		`<pair key="pool_token" value=""/></manifest>`)
	_ = p.db.update(func(tx tx) error { // only reads
		for _, class := range slices.Sorted(maps.Keys(schema())) {
			if !dumped(class) {
				continue
			}
			fmt.Fprintf(&b, `<table name=%q>`, class)
			for _, row := range tx.inOrder(class) {
				fmt.Fprintf(&b, `<row ref=%q`, row.ref)
				for _, f := range schema()[class].fields {
					fmt.Fprintf(&b, ` %s="`, f.name)
					_ = xml.EscapeText(&b, []byte(dumpValue(row.record[f.name]))) // a buffer never fails
					b.WriteByte('"')
				}
				b.WriteString("/>")
			}
			b.WriteString("</table>")
		}
		return nil
	})
	b.WriteString("</database>")
	return b.Bytes()
}

// dumpValue writes a value as text: collections as lists of quoted words.
func dumpValue(value any) string {
	pairs := func(m map[string]string) string {
		var list []string
		for _, key := range slices.Sorted(maps.Keys(m)) {
			list = append(list, "("+quoted([]string{key, m[key]})+")")
		}
		return "(" + strings.Join(list, " ") + ")"
	}
	switch v := value.(type) {
	case string:
		return v
	case []string:
		return "(" + quoted(v) + ")"
	case []int64:
		return "(" + quoted(texts(v)) + ")"
	case map[string]string:
		return pairs(v)
	case map[string]int64:
		return pairs(textMap(v))
	case map[string]float64:
		return pairs(textMap(v))
	default:
		return fmt.Sprint(v)
	}
}

// quoted writes a list of words that words can read.
func quoted(list []string) string {
	out := make([]string, 0, len(list))
	for _, word := range list {
		out = append(out, "'"+strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(word)+"'")
	}
	return strings.Join(out, " ")
}

func texts[T any](list []T) []string {
	out := make([]string, 0, len(list))
	for _, v := range list {
		out = append(out, fmt.Sprint(v))
	}
	return out
}

func textMap[T any](m map[string]T) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[k] = fmt.Sprint(v)
	}
	return out
}

// dumpedRow is one object of a dump.
type dumpedRow struct {
	class, ref string
	record     record
}

var errDump = errors.New("xapitest: not a dump of this kind of pool")

func parseDump(text []byte) ([]dumpedRow, error) {
	var rows []dumpedRow
	var current *class
	root := false
	dec := xml.NewDecoder(bytes.NewReader(text))
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) && root {
			return rows, nil
		}
		if err != nil {
			return nil, errors.Join(errDump, err)
		}
		element, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		attributes := make(map[string]string, len(element.Attr))
		for _, a := range element.Attr {
			attributes[a.Name.Local] = a.Value
		}
		switch element.Name.Local {
		case "database":
			root = true
		case "table":
			current = schema()[attributes["name"]]
		case "row":
			if current == nil || !root || !dumped(current.name) {
				return nil, errDump
			}
			rec, err := parseRow(current, attributes)
			if err != nil {
				return nil, err
			}
			rows = append(rows, dumpedRow{current.name, attributes["ref"], rec})
		}
	}
}

// parseRow reads the fields of an object; those that the dump lacks have their
// defaults.
func parseRow(c *class, attributes map[string]string) (record, error) {
	rec := newRecord(c, nil)
	for _, f := range c.fields {
		text, ok := attributes[f.name]
		if !ok {
			continue
		}
		var plain any = text
		switch f.kind {
		case kindString, kindRef, kindDatetime, kindInt, kindFloat:
		case kindBool:
			plain = text == "true"
		case kindSet, kindIntSet:
			plain = anyList(words(text))
		case kindMap, kindIntMap, kindFloatMap:
			list := words(text)
			if len(list)%2 != 0 {
				return nil, errDump
			}
			m := make(map[string]any, len(list)/2)
			for pair := range slices.Chunk(list, 2) {
				m[pair[0]] = pair[1]
			}
			plain = m
		}
		if rec[f.name], ok = coerce(f.kind, plain); !ok {
			return nil, errDump
		}
	}
	return rec, nil
}

// words returns the quoted words of a list, whatever its brackets.
func words(text string) (list []string) {
	var word strings.Builder
	quoted, escaped := false, false
	for _, c := range text {
		switch {
		case escaped:
			word.WriteRune(c)
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '\'':
			if quoted {
				list = append(list, word.String())
				word.Reset()
			}
			quoted = !quoted
		case quoted:
			word.WriteRune(c)
		}
	}
	return list
}

// load makes the database what the dump says. Tasks and sessions live on.
func (p *Pool) load(rows []dumpedRow) error {
	pools := slices.DeleteFunc(slices.Clone(rows), func(r dumpedRow) bool { return r.class != "pool" })
	if len(pools) != 1 || pools[0].ref == "" {
		return errDump
	}
	return p.db.update(func(tx tx) error {
		wanted := make(map[string]bool, len(rows))
		for _, r := range rows {
			wanted[r.class+" "+r.ref] = true
		}
		for class := range schema() {
			for _, row := range tx.inOrder(class) {
				if dumped(class) && !wanted[class+" "+row.ref] {
					_ = tx.destroy(class, row.ref) // it exists
				}
			}
		}
		for _, r := range rows {
			tx.put(r.class, r.ref, r.record)
		}
		return nil
	})
}

// put makes an object exactly what a record says, back references included.
func (t tx) put(class, ref string, rec record) {
	table := t.db.tables[class]
	t.db.generation++
	r, ok := table.rows[ref]
	if !ok {
		r = &row{ref: ref, created: t.db.generation}
		r.place = table.order.PushBack(r)
		table.rows[ref] = r
	}
	delete(table.uuids, r.record.str("uuid"))
	r.record, r.modified = rec, t.db.generation
	table.order.MoveToBack(r.place)
	table.uuids[rec.str("uuid")] = ref
}
