package vhd_test

import (
	"bytes"
	"encoding/binary"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/vhd"
)

// sound is an image with partly filled blocks and a parent.
func sound() (leaf, parent *spec) {
	leaf = &spec{typ: vhd.Differencing, size: 4096*4 + 512, blockSize: 4096, uuid: 2, parent: 1, parentName: "parent.vhd", order: []int{0, 3, 1}}
	for _, n := range []int64{0, 1, 2, 3, 4, 5, 6, 7, 9, 24, 25} {
		leaf.put(n, filled(2, n))
	}
	parent = &spec{typ: vhd.Dynamic, size: leaf.size, blockSize: 4096, uuid: 1}
	for n := range int64(33) {
		parent.put(n, filled(1, n))
	}
	return leaf, parent
}

// damaged is a way to damage the image of sound, kept as leaf.vhd beside parent.vhd.
type damaged struct {
	tamper   func(files map[string][]byte)
	level    vhd.CheckLevel
	kind     vhd.FindingKind
	severity vhd.Severity
	repaired bool // PlanRepair mends it
}

// edit returns a tamper that changes one file.
func edit(name string, change func(file []byte) []byte) func(map[string][]byte) {
	return func(files map[string][]byte) { files[name] = change(files[name]) }
}

func flip(off int) func([]byte) []byte {
	return func(file []byte) []byte {
		if off < 0 {
			off += len(file)
		}
		file[off] ^= 0x40
		return file
	}
}

func damages() map[string]damaged {
	leaf, _ := sound()
	length := len(leaf.encode())
	withoutCopy := func(change func(file []byte)) func([]byte) []byte {
		return func(file []byte) []byte {
			change(file)
			return file
		}
	}
	entry := func(block int, sector uint32) func([]byte) []byte {
		return withoutCopy(func(file []byte) { binary.BigEndian.PutUint32(file[1536+4*block:], sector) })
	}
	return map[string]damaged{
		"the footer damaged":            {edit("leaf.vhd", flip(-400)), vhd.CheckStructure, vhd.FindFooter, vhd.Warning, true},
		"the footer cut off":            {edit("leaf.vhd", func(f []byte) []byte { return f[:len(f)-512] }), vhd.CheckStructure, vhd.FindFooter, vhd.Warning, true},
		"half of the footer cut off":    {edit("leaf.vhd", func(f []byte) []byte { return f[:len(f)-200] }), vhd.CheckStructure, vhd.FindFooter, vhd.Warning, true},
		"something behind the footer":   {edit("leaf.vhd", func(f []byte) []byte { return append(f, "something"...) }), vhd.CheckStructure, vhd.FindFooter, vhd.Warning, true},
		"a footer of 511 bytes":         {edit("leaf.vhd", func(f []byte) []byte { return f[:len(f)-1] }), vhd.CheckStructure, vhd.FindShortFooter, vhd.Warning, true},
		"the copy damaged":              {edit("leaf.vhd", flip(30)), vhd.CheckStructure, vhd.FindFooterCopy, vhd.Warning, true},
		"the checksum of the copy":      {edit("leaf.vhd", flip(65)), vhd.CheckStructure, vhd.FindFooterCopy, vhd.Warning, true},
		"copies with other timestamps":  {edit("leaf.vhd", withoutCopy(func(f []byte) { f[27]++; reseal(f[:512], 64) })), vhd.CheckStructure, vhd.FindFootersDiffer, vhd.Warning, true},
		"copies of other disks":         {edit("leaf.vhd", withoutCopy(func(f []byte) { f[70]++; reseal(f[:512], 64) })), vhd.CheckStructure, vhd.FindFootersDiffer, vhd.Damage, false},
		"both footers damaged":          {edit("leaf.vhd", func(f []byte) []byte { return flip(30)(flip(-400)(f)) }), vhd.CheckStructure, vhd.FindUnreadable, vhd.Damage, false},
		"the header damaged":            {edit("leaf.vhd", flip(512+33)), vhd.CheckStructure, vhd.FindUnreadable, vhd.Damage, false},
		"a block behind the end":        {edit("leaf.vhd", entry(2, uint32(length/512+8))), vhd.CheckStructure, vhd.FindEntry, vhd.Damage, false},
		"a block over the header":       {edit("leaf.vhd", entry(2, 2)), vhd.CheckStructure, vhd.FindEntry, vhd.Damage, false},
		"two blocks in one place":       {edit("leaf.vhd", entry(2, 4)), vhd.CheckStructure, vhd.FindEntry, vhd.Damage, false},
		"cut inside a block":            {edit("leaf.vhd", func(f []byte) []byte { return f[:len(f)-2000] }), vhd.CheckStructure, vhd.FindEntry, vhd.Damage, false},
		"not a VHD":                     {edit("leaf.vhd", func([]byte) []byte { return []byte(strings.Repeat("x", 5000)) }), vhd.CheckStructure, vhd.FindUnreadable, vhd.Damage, false},
		"empty":                         {edit("leaf.vhd", func([]byte) []byte { return nil }), vhd.CheckStructure, vhd.FindUnreadable, vhd.Damage, false},
		"no parent":                     {func(files map[string][]byte) { delete(files, "parent.vhd") }, vhd.CheckChain, vhd.FindParent, vhd.Damage, false},
		"another parent":                {edit("parent.vhd", func([]byte) []byte { l, _ := sound(); return l.encode() }), vhd.CheckChain, vhd.FindParent, vhd.Damage, false},
		"a damaged parent":              {edit("parent.vhd", flip(512+33)), vhd.CheckChain, vhd.FindParent, vhd.Damage, false},
		"an interrupted merge":          {func(files map[string][]byte) { files[".parent.vhd.merge.json"] = nil }, vhd.CheckChain, vhd.FindMerge, vhd.Warning, false},
		"data behind the end":           {edit("parent.vhd", flip(-512-1)), vhd.CheckData, vhd.FindHiddenData, vhd.Warning, false},
		"lacking sectors":               {edit("leaf.vhd", func(f []byte) []byte { return f }), vhd.CheckBitmaps, vhd.FindPartial, vhd.Note, false},
		"an original size that is more": {edit("leaf.vhd", originalSize), vhd.CheckStructure, vhd.FindOriginalSize, vhd.Note, false},
	}
}

// reseal corrects the checksum at offset field.
func reseal(b []byte, field int) {
	clear(b[field : field+4])
	binary.BigEndian.PutUint32(b[field:], complement(b))
}

func originalSize(f []byte) []byte {
	for _, at := range []int{0, len(f) - 512} {
		f[at+44]++
		reseal(f[at:at+512], 64)
	}
	return f
}

func (c damaged) files() map[string][]byte {
	leaf, parent := sound()
	files := map[string][]byte{"leaf.vhd": leaf.encode(), "parent.vhd": parent.encode()}
	c.tamper(files)
	return files
}

func find(report *vhd.Report, kind vhd.FindingKind) *vhd.Finding {
	for i, f := range report.Findings {
		if f.Kind == kind {
			return &report.Findings[i]
		}
	}
	return nil
}

func TestCheckFindsEveryDamageAndChangesNothing(t *testing.T) {
	for name, c := range damages() {
		t.Run(name, func(t *testing.T) {
			files := c.files()
			d := newCrashDir(files)
			report, err := vhd.Check(t.Context(), d, "leaf.vhd", &vhd.CheckOptions{Level: c.level})
			require.NoError(t, err)
			f := find(report, c.kind)
			require.NotNil(t, f, "%v", report.Findings)
			require.Equal(t, c.severity, f.Severity, f)
			require.Equal(t, c.repaired, f.Repairable, f)
			require.Equal(t, c.severity, report.Worst(), "%v", report.Findings)
			require.Equal(t, c.severity == vhd.Damage, report.Err() != nil)
			for name, data := range files {
				require.Equal(t, data, d.now[name].data)
				require.Empty(t, d.now[name].writes)
			}
		})
	}
}

func TestCheckOfSoundImagesFindsNothing(t *testing.T) {
	leaf, parent := sound()
	d := newCrashDir(map[string][]byte{"leaf.vhd": leaf.encode(), "parent.vhd": parent.encode()})
	report, err := vhd.Check(t.Context(), d, "leaf.vhd", &vhd.CheckOptions{Level: vhd.CheckData})
	require.NoError(t, err)
	require.Equal(t, vhd.Note, report.Worst(), "%v", report.Findings)
	require.Equal(t, 2, report.Links)
	require.EqualValues(t, 8, report.Blocks)
	require.Equal(t, leaf.size, report.Size)
}

func TestCheckOfWhatXOWroteFindsNothing(t *testing.T) {
	repo := testenv.Golden(t)
	dir := vhd.OSDir(openRoot(t, repo.Dir))
	for i, disk := range allGoldenDisks(t, repo) {
		level := vhd.CheckChain // more of all takes long
		if i%4 == 0 {
			level = vhd.CheckBitmaps + vhd.CheckLevel(i/4%2)
		}
		report, err := vhd.Check(t.Context(), dir, disk.path, &vhd.CheckOptions{Level: level})
		require.NoError(t, err)
		require.Equal(t, vhd.Note, report.Worst(), "%v", report.Findings)
	}
	for _, x := range interruptions(t) {
		for _, disk := range x.disks {
			report, err := vhd.Check(t.Context(), x.dir, disk.path, &vhd.CheckOptions{Level: vhd.CheckBitmaps})
			require.NoError(t, err)
			require.NoError(t, report.Err())
			require.NotNil(t, find(report, vhd.FindMerge))
		}
	}
}

func TestCheckFindsDamageOfDirectories(t *testing.T) {
	leaf, _ := sound()
	for name, c := range map[string]struct {
		tamper   func(files map[string][]byte)
		level    vhd.CheckLevel
		kind     vhd.FindingKind
		severity vhd.Severity
		repaired bool
	}{
		"a block that is gone":       {func(f map[string][]byte) { delete(f, "data/leaf.vhd/blocks/0/3") }, vhd.CheckStructure, vhd.FindLostBlock, vhd.Damage, false},
		"a block that is not listed": {func(f map[string][]byte) { f["data/leaf.vhd/blocks/0/2"] = nil }, vhd.CheckStructure, vhd.FindStrayBlock, vhd.Note, false},
		"a block cut short":          {edit("data/leaf.vhd/blocks/0/3", func(f []byte) []byte { return f[:len(f)-9] }), vhd.CheckData, vhd.FindBlock, vhd.Damage, false},
		"an empty block":             {edit("data/leaf.vhd/blocks/0/3", func([]byte) []byte { return nil }), vhd.CheckBitmaps, vhd.FindBitmap, vhd.Damage, false},
		"no table":                   {func(f map[string][]byte) { delete(f, "data/leaf.vhd/bat") }, vhd.CheckStructure, vhd.FindTable, vhd.Damage, true},
		"an empty table":             {edit("data/leaf.vhd/bat", func([]byte) []byte { return nil }), vhd.CheckStructure, vhd.FindTable, vhd.Damage, true},
		"no footer":                  {func(f map[string][]byte) { delete(f, "data/leaf.vhd/footer") }, vhd.CheckStructure, vhd.FindUnreadable, vhd.Damage, false},
		"a damaged header":           {edit("data/leaf.vhd/header", func(f []byte) []byte { return f[:100] }), vhd.CheckStructure, vhd.FindUnreadable, vhd.Damage, false},
		"an empty alias":             {edit("leaf.alias.vhd", func([]byte) []byte { return nil }), vhd.CheckStructure, vhd.FindUnreadable, vhd.Damage, false},
		"an alias of nothing":        {edit("leaf.alias.vhd", func([]byte) []byte { return []byte("data/no.vhd") }), vhd.CheckStructure, vhd.FindUnreadable, vhd.Damage, false},
	} {
		t.Run(name, func(t *testing.T) {
			files := leaf.encodeDirectory("data/leaf.vhd", "gzip")
			files["leaf.alias.vhd"] = []byte("data/leaf.vhd")
			sound := newCrashDir(maps.Clone(files)).now
			c.tamper(files)
			d := newCrashDir(files)
			report, err := vhd.Check(t.Context(), d, "leaf.alias.vhd", &vhd.CheckOptions{Level: c.level})
			require.NoError(t, err)
			f := find(report, c.kind)
			require.NotNil(t, f, "%v", report.Findings)
			require.Equal(t, c.severity, f.Severity, f)
			require.Equal(t, c.repaired, f.Repairable, f)
			plan, err := vhd.PlanRepair(t.Context(), d, "leaf.alias.vhd", nil)
			require.NoError(t, err)
			require.NoError(t, plan.Apply(t.Context()))
			if !c.repaired {
				require.Empty(t, plan.Steps)
				return
			}
			image, err := vhd.OpenDirectory(t.Context(), d, "leaf.alias.vhd")
			require.NoError(t, err)
			require.NoError(t, image.Close())
			require.Equal(t, slices.Sorted(maps.Keys(sound)), slices.Sorted(maps.Keys(d.now)))
		})
	}
}

// TestQemuOpensWhatCheckFindsSound compares with qemu-img, whose own check does
// not know the format: what it refuses to open must be a finding.
func TestQemuOpensWhatCheckFindsSound(t *testing.T) {
	qemu := testenv.Require(t, "qemu-img")
	for name, c := range damages() {
		leaf, _ := sound()
		leaf.typ, leaf.parent, leaf.parentName = vhd.Dynamic, 0, ""
		files := map[string][]byte{"leaf.vhd": leaf.encode(), "parent.vhd": nil}
		if strings.Contains(name, "parent") || c.level == vhd.CheckData {
			continue
		}
		c.tamper(files)
		report, err := vhd.Check(t.Context(), newCrashDir(files), "leaf.vhd", nil)
		require.NoError(t, err)
		file := filepath.Join(t.TempDir(), "leaf.vhd")
		require.NoError(t, os.WriteFile(file, files["leaf.vhd"], 0o600))
		out, err := exec.CommandContext(t.Context(), qemu, "info", "-f", "vpc", file).CombinedOutput()
		if err != nil {
			require.Greater(t, report.Worst(), vhd.Note, "%s: qemu-img says: %s", name, out)
		}
		if report.Worst() == vhd.Note {
			require.NoError(t, err, "%s: qemu-img says: %s", name, out)
		}
	}
}

func FuzzCheck(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, file []byte) {
		for _, data := range [][]byte{file, sealed(file)} {
			d := newCrashDir(map[string][]byte{"x.vhd": data})
			report, err := vhd.Check(t.Context(), d, "x.vhd", &vhd.CheckOptions{Level: vhd.CheckData, MaxFindings: 50})
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, d.now["x.vhd"].data))
			for _, finding := range report.Findings {
				require.NotEmpty(t, finding.String())
			}
			plan, err := vhd.PlanRepair(t.Context(), d, "x.vhd", &vhd.RepairOptions{ForgetLost: true})
			require.NoError(t, err)
			require.NoError(t, plan.Apply(t.Context()))
			again, err := vhd.PlanRepair(t.Context(), d, "x.vhd", &vhd.RepairOptions{ForgetLost: true})
			require.NoError(t, err)
			require.Empty(t, again.Steps)
		}
	})
}
