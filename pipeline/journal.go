package pipeline

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// journal keeps intents until they are done: in memory, and, if it has a file, beyond
// the process. The file is one line of JSON per change. A change is durable when its
// call returns, but for a removal: who undoes something again does no harm.
type journal struct {
	mu      sync.Mutex
	path    string   // "" is in memory alone
	file    *os.File // nil as path is "", or when it could not be opened again
	size    int64    // bytes of whole lines
	lines   int
	closed  bool  // for good
	last    int64 // the last id
	intents map[int64]intent
	live    map[string]bool // runs of this process that are under way
	claimed map[int64]bool  // being undone
	tried   map[int64]bool  // were to be undone before
}

// journalLine is a line of the file.
type journalLine struct {
	Intent *intent `json:"intent,omitempty"`
	Done   int64   `json:"done,omitempty"` // id of an intent
}

// compactAt is how many lines the file may have before those that say nothing any more
// are dropped.
const compactAt = 1000

// errJournalGone: what is written is read by nobody, and another process may have a new
// directory of the same name.
var errJournalGone = errors.New("pipeline: the journal of the state directory was removed or replaced: start the program again")

var errJournalLost = errors.New("pipeline: the journal could not be opened again after it was compacted")

func newJournal() *journal {
	return &journal{intents: map[int64]intent{}, live: map[string]bool{}, claimed: map[int64]bool{}, tried: map[int64]bool{}}
}

// openJournal reads what is in the file, and makes it small. A last line that was torn
// off is dropped: what it announced was not begun.
func openJournal(path string) (*journal, error) {
	j := newJournal()
	j.path = path
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("pipeline: journal: %w", err)
	}
	for n := 1; len(text) > 0; n++ {
		one, rest, whole := bytes.Cut(text, []byte("\n"))
		var l journalLine
		if err := json.Unmarshal(one, &l); err != nil {
			if !whole || len(rest) == 0 {
				break
			}
			return nil, fmt.Errorf("pipeline: journal: %s: line %d is damaged: look in the pools for what the file names, and remove it: %w", path, n, err)
		}
		if whole {
			j.size += int64(len(one)) + 1
			j.lines++
		}
		text = rest
		if l.Intent != nil {
			j.intents[l.Intent.ID] = *l.Intent
			j.last = max(j.last, l.Intent.ID)
		}
		delete(j.intents, l.Done)
	}
	err = j.compact()
	if err != nil && j.file == nil { // a full disk is no reason not to undo
		err = j.reopen()
	}
	if err != nil {
		return nil, fmt.Errorf("pipeline: journal: %w", errors.Join(err, j.close()))
	}
	return j, nil
}

// reopen opens the file as it is, but for a last line that was torn off.
func (j *journal) reopen() error {
	f, err := os.OpenFile(j.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	j.file = f
	return f.Truncate(j.size)
}

// begin adds an intent.
func (j *journal) begin(in intent) (*intention, error) {
	j.mu.Lock()
	j.last++
	in.ID = j.last
	j.mu.Unlock()
	if err := j.put(&in); err != nil {
		return nil, err
	}
	return &intention{j, in}, nil
}

// put adds an intent that has its id, or replaces it.
func (j *journal) put(in *intent) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.append(journalLine{Intent: in}, true); err != nil {
		return fmt.Errorf("pipeline: journal: %w", err)
	}
	j.intents[in.ID] = *in
	return nil
}

// remove forgets an intent, and tells whether it was there. If that cannot be written it
// is undone once more after the next start.
func (j *journal) remove(id int64) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, there := j.intents[id]; !there {
		return false
	}
	delete(j.intents, id)
	delete(j.tried, id)
	if j.append(journalLine{Done: id}, false) == nil && j.lines > compactAt && j.lines > 4*len(j.intents) {
		_ = j.compact() // tried again with the next one; what is lost by it, put tells
	}
	return true
}

// append writes a line. What was written of one that failed is taken back, so that the
// next one does not follow half a line.
func (j *journal) append(l journalLine, durably bool) error {
	switch {
	case j.path == "":
		return nil
	case j.closed:
		return errStateClosed
	case j.file == nil:
		return errJournalLost
	}
	if durably {
		if err := j.isThere(); err != nil {
			return err
		}
	}
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if _, err = j.file.WriteAt(text, j.size); err == nil && durably {
		err = j.file.Sync()
	}
	if err != nil {
		return errors.Join(err, j.file.Truncate(j.size))
	}
	j.size += int64(len(text))
	j.lines++
	return nil
}

// isThere returns an error unless the file is still the one that the next process finds.
func (j *journal) isThere() error {
	open, err := j.file.Stat()
	if err != nil {
		return err
	}
	named, err := os.Stat(j.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(named, open) {
		return errJournalGone
	}
	return err
}

// compact replaces the file by one with nothing but what is still intended.
func (j *journal) compact() error {
	if j.path == "" {
		return nil
	}
	var text bytes.Buffer
	for _, id := range slices.Sorted(maps.Keys(j.intents)) {
		in := j.intents[id]
		line, err := json.Marshal(journalLine{Intent: &in})
		if err != nil {
			return err
		}
		text.Write(append(line, '\n'))
	}
	temp := j.path + ".tmp"
	if err := writeSynced(temp, text.Bytes()); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	err := j.close() // some systems do not replace a file that is open
	if err == nil {
		if err = os.Rename(temp, j.path); err == nil {
			j.size, j.lines = int64(text.Len()), len(j.intents)
		}
	}
	var opening error
	if j.file, opening = os.OpenFile(j.path, os.O_CREATE|os.O_RDWR, 0o600); opening != nil {
		j.file = nil
	}
	return errors.Join(err, opening, syncDir(filepath.Dir(j.path)))
}

// close closes the file. What is intended stays in it.
func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	f := j.file
	j.file = nil
	return f.Close()
}

// begun says that a run is under way: nobody else undoes what it intends.
func (j *journal) begun(run string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.live[run] = true
}

// ended says that a run is over. What is still intended, it could not undo.
func (j *journal) ended(run string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.live, run)
}

// claim returns the intents that no live run has and nobody is undoing, the newest
// first, if wanted says so; tried tells it that this is not the first time. They are the
// caller's until it gives them back.
func (j *journal) claim(wanted func(in intent, tried bool) bool) []intent {
	j.mu.Lock()
	defer j.mu.Unlock()
	var claimed []intent
	for id, in := range j.intents {
		if j.live[in.Run] || j.claimed[id] || !wanted(in, j.tried[id]) {
			continue
		}
		j.claimed[id], j.tried[id] = true, true
		claimed = append(claimed, in)
	}
	slices.SortFunc(claimed, func(a, b intent) int { return int(b.ID - a.ID) })
	return claimed
}

// giveBack ends a claim.
func (j *journal) giveBack(claimed []intent) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, in := range claimed {
		delete(j.claimed, in.ID)
	}
}

// writeSynced writes a file, and syncs it.
func writeSynced(name string, text []byte) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}
