package task

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

var errUnderWay = errors.New("the run is under way")

// Interrupt ends, durably, the story of a run that never ended since its process did, and
// adds what has been done about it since. The end is when it was last heard of. A run that
// has ended stays as it is, and so does one of which nothing is left.
func (l *Log) Interrupt(run string, infos ...Message) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.interrupt(run, infos); err != nil {
		return fmt.Errorf("task: log of run %s: %w", run, err)
	}
	return nil
}

func (l *Log) interrupt(run string, infos []Message) error {
	if l.open[run] != nil {
		return errUnderWay
	}
	text, err := os.ReadFile(l.name(run))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	root, err := replay(text)
	if err != nil || root == nil || root.Status != Pending {
		return err
	}
	size, last := untorn(text)
	end := line{Time: last, ID: root.ID, Name: "backup run"}
	var lines []line
	for _, info := range infos {
		l := end
		l.Kind, l.Time, l.Message, l.Data = EventInfo, time.Now().UnixMilli(), info.Message, info.Data
		lines = append(lines, l)
	}
	end.Kind, end.Status = EventEnd, Interrupted
	var more []byte
	if text[size-1] != '\n' {
		more = []byte("\n")
	}
	for _, l := range append(lines, end) {
		text, err := json.Marshal(l)
		if err != nil {
			return err
		}
		more = append(append(more, text...), '\n')
	}
	return rewriteEnd(l.name(run), size, more)
}

// untorn returns how many bytes of the events of a run are whole, and the time of the
// last one.
func untorn(text []byte) (size, last int64) {
	for {
		one, rest, _ := bytes.Cut(text[size:], []byte("\n"))
		var l line
		if json.Unmarshal(one, &l) != nil {
			return size, last
		}
		last = l.Time
		size = int64(len(text) - len(rest))
	}
}

// rewriteEnd replaces what comes after size bytes.
func rewriteEnd(name string, size int64, text []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if err = f.Truncate(size); err == nil {
		_, err = f.WriteAt(text, size)
	}
	return errors.Join(err, f.Sync(), f.Close())
}
