package filerestore

import (
	"hash/maphash"
	"os"
	"path/filepath"
	"strings"
	"unicode"
)

// madeNames knows the names that one extraction has made, by their hashes.
type madeNames struct {
	seed  maphash.Seed
	first map[uint64]uint64 // of a name in lower case: of the first one spelled so
}

// add tells whether name is, for the directory, one that was added before: the same, or
// one that differs in case where that does not count.
func (m *madeNames) add(root *os.Root, name string) bool {
	if m.first == nil {
		m.seed, m.first = maphash.MakeSeed(), map[uint64]uint64{}
	}
	folded, exact := maphash.String(m.seed, strings.ToLower(name)), maphash.String(m.seed, name)
	before, ok := m.first[folded]
	if !ok {
		m.first[folded] = exact
		return false
	}
	return before == exact || ignoresCase(root, name)
}

// ignoresCase tells whether what is there by this name is there in the other case too.
func ignoresCase(root *os.Root, name string) bool {
	dir, base := filepath.Split(name)
	other := strings.Map(func(r rune) rune {
		if unicode.IsUpper(r) {
			return unicode.ToLower(r)
		}
		return unicode.ToUpper(r)
	}, base)
	a, err := root.Lstat(name)
	if err != nil {
		return false
	}
	b, err := root.Lstat(filepath.Join(dir, other))
	return err == nil && other != base && os.SameFile(a, b)
}
