package selector_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/selector"
)

func names(vms []selector.VM) []string {
	var all []string
	for _, vm := range vms {
		all = append(all, vm.Name())
	}
	return all
}

func problems(s *selector.Selection) []string {
	var all []string
	for _, p := range s.Problems {
		all = append(all, p.Error())
	}
	return all
}

func byPattern(tb testing.TB, text string, opts *selector.Options) *selector.Selector {
	tb.Helper()
	s, err := selector.ByPattern(pattern(tb, text), opts)
	require.NoError(tb, err)
	return s
}

func vm(id, name string, more selector.VM) selector.VM {
	v := selector.VM{"type": "VM", "id": id, "name_label": name, "power_state": "Running", "$pool": "p1", "tags": []any{}}
	maps.Copy(v, more)
	return v
}

// replica is a copy that the job has made.
func replica(id, name, job string) selector.VM {
	return vm(id, name, selector.VM{"other": map[string]any{"xo:backup:job": job}, "blockedOperations": map[string]any{"start": "..."}})
}

var paris = []selector.Pool{{ID: "p1", Name: "Paris", Connected: true}}

func TestWhatIsNeverChosen(t *testing.T) {
	inv := &selector.Inventory{Pools: paris, VMs: []selector.VM{
		vm("1", "web", nil),
		vm("2", "tagged", selector.VM{"tags": []string{"xo:no-bak"}}),
		vm("3", "reasoned", selector.VM{"tags": []string{"x", "xo:no-bak=Health Check"}}),
		vm("4", "nearly", selector.VM{"tags": []string{"xo:no-bak-not", "no-bak", "xo:no-backup"}}),
		replica("5", "own replica", "job"),
		replica("6", "other's replica", "other"),
		vm("7", "restored", selector.VM{"other": map[string]any{"xo:backup:job": "job"}, "blockedOperations": map[string]any{}}),
		vm("8", "snapshot", selector.VM{"type": "VM-snapshot"}),
		{"id": "9", "name_label": "no type"},
	}}
	ids := []string{"9", "8", "7", "6", "5", "4", "3", "2", "1"}
	listed, err := selector.ByIDs(ids, &selector.Options{Job: "job"})
	require.NoError(t, err)
	all := byPattern(t, `{}`, &selector.Options{Job: "job"})

	require.Equal(t, []string{"nearly", "other's replica", "restored", "web"}, names(all.Select(inv).VMs))
	moving := &selector.Inventory{Pools: paris, VMs: []selector.VM{vm("1", "web", nil), vm("1", "web", selector.VM{"$pool": "p2"})}}
	require.Len(t, all.Select(moving).VMs, 1, "seen in two pools while it moves")
	selection := listed.Select(inv)
	require.Equal(t, []string{"restored", "other's replica", "nearly", "web"}, names(selection.VMs), "in the order of the list")
	require.NoError(t, selection.Err())
	var excluded []string
	for _, v := range selection.Excluded {
		require.True(t, v.Matched)
		require.False(t, v.In)
		excluded = append(excluded, v.String())
	}
	require.Empty(t, cmp.Diff([]string{
		`"no type" (9) is out: there is no type`,
		`"own replica" (5) is out: it is a replica that this job has made`,
		`"reasoned" (3) is out: it is tagged xo:no-bak: Health Check`,
		`"snapshot" (8) is out: type is "VM-snapshot", not "VM"`,
		`"tagged" (2) is out: it is tagged xo:no-bak`,
	}, excluded))

	asXO, err := selector.ByIDs(ids, &selector.Options{Job: "job", ListedNoBackup: true})
	require.NoError(t, err)
	require.Equal(t, []string{"restored", "other's replica", "nearly", "reasoned", "tagged", "web"}, names(asXO.Select(inv).VMs))
	require.Len(t, byPattern(t, `{}`, &selector.Options{Job: "job", ListedNoBackup: true}).Select(inv).VMs, 4)
	require.True(t, asXO.Selects(inv.VMs[1]))
	require.False(t, listed.Selects(inv.VMs[1]))
}

func TestNothingIsLeftOutInSilence(t *testing.T) {
	inv := &selector.Inventory{
		VMs:   []selector.VM{vm("1", "web", nil), vm("2", "db", selector.VM{"tags": []any{"xo:no-bak"}})},
		Pools: []selector.Pool{{ID: "p1", Name: "Paris", Connected: true}, {ID: "p2", Name: "Lyon"}, {Name: "new"}},
	}
	const (
		lyon    = `selector: pool not connected, its VMs are not known: "Lyon" (p2)`
		newPool = `selector: pool not connected, its VMs are not known: "new"`
	)
	for text, want := range map[string][]string{
		`{"type": "VM"}`:                        {lyon, newPool},
		`{"power_state": "Running"}`:            {lyon, newPool},
		`{"$pool": "p1"}`:                       {newPool},
		`{"$pool": {"__or": ["p1", "p2"]}}`:     {lyon, newPool},
		`{"$pool": {"__not": "p2"}}`:            {newPool},
		`{"$pool": {"__not": {"__not": "p1"}}}`: {newPool},
		`{"__or": [{"$pool": "p2"}, {"$pool": "p1", "tags": {"__not": ["x"]}}]}`: {lyon, newPool},
		`{"$pool": {"__or": ["p1", "p3"]}}`:                                      {newPool, `selector: the pattern names a pool that is not configured: p3`},
		`{"type": "VM-template"}`:                                                {`selector: no VM matches: 2 were looked at`},
		`{"$pool": "p1", "name_label": "x"}`:                                     {newPool, `selector: no VM matches: 2 were looked at`},
		`{"$pool": "p1", "name_label": "db"}`:                                    {newPool, `selector: no VM matches: only "db" (2) is out: it is tagged xo:no-bak`},
		`{"id": {"__or": ["1", "7"]}}`:                                           {`selector: VM not found: 7: perhaps it is in a pool that is not connected: "Lyon" (p2), "new"`},
		`{"id": "7"}`: {
			`selector: VM not found: 7: perhaps it is in a pool that is not connected: "Lyon" (p2), "new"`,
			`selector: no VM matches: 2 were looked at`,
		},
	} {
		require.Empty(t, cmp.Diff(want, problems(byPattern(t, text, nil).Select(inv))), text)
	}
	q, err := selector.ByQuery(query(t, `$pool:p1 web`), nil)
	require.NoError(t, err)
	require.Equal(t, []string{newPool}, problems(q.Select(inv)))
	q, err = selector.ByQuery(query(t, `|(tags:a >3 x?)`), nil)
	require.NoError(t, err)
	selection := q.Select(inv)
	require.ErrorIs(t, selection.Err(), selector.ErrPoolNotConnected)
	require.ErrorIs(t, selection.Err(), selector.ErrNoMatch)
}

// A VM of a pool that is passed over in silence would not have been chosen, whatever it was.
func TestPoolsThatMatterAreAllReported(t *testing.T) {
	g := generator{newRand(3)}
	quiet := 0
	for range 5000 {
		s := byPattern(t, g.vmPattern(t), nil)
		inv := &selector.Inventory{Pools: []selector.Pool{{ID: "a"}}}
		if slices.ContainsFunc(s.Select(inv).Problems, func(p *selector.SelectionError) bool { return p.Err == selector.ErrPoolNotConnected }) { //nolint:errorlint // the field itself
			continue
		}
		quiet++
		for range 20 {
			object, _ := g.value(3).(map[string]any)
			v := selector.VM{"$pool": "a", "type": "VM"}
			for key, value := range object {
				if key != "$pool" {
					v[key] = value
				}
			}
			require.False(t, s.Selects(v), "%v", v)
		}
	}
	require.Greater(t, quiet, 200)
}

func TestASelectorSelectsWhatItExplains(t *testing.T) {
	g := generator{newRand(4)}
	for range 5000 {
		s := byPattern(t, g.vmPattern(t), &selector.Options{Job: "ab"})
		if g.IntN(2) == 0 {
			q, err := selector.ParseQuery(g.query())
			if err != nil {
				continue
			}
			s, err = selector.ByQuery(q, nil)
			require.NoError(t, err)
		}
		object, _ := g.value(3).(map[string]any)
		v := vm("1", "x", object)
		verdict := s.Explain(v)
		require.Equal(t, verdict.In, s.Selects(v))
		require.Equal(t, verdict.In, len(s.Select(&selector.Inventory{VMs: []selector.VM{v}}).VMs) == 1)
		require.NotEmpty(t, verdict.Reason)
		require.Less(t, len(verdict.Reason), 3000)
	}
}

func TestReasons(t *testing.T) {
	web := vm("1", "web", selector.VM{"tags": []any{"prod", "a", "b", "c", "d", "e", "f"}, "memory": map[string]any{"size": 5}, "os": nil})
	for text, want := range map[string]string{
		`{}`:                                "it is an object",
		`{"power_state": "Halted"}`:         `power_state is "Running", not "Halted"`,
		`{"affinityHost": "x"}`:             `there is no affinityHost`,
		`{"$pool": {"__or": ["p2", "p3"]}}`: `$pool is "p1", none of "p2", "p3"`,
		`{"$pool": {"__or": ["p2", "p3", "p4", "p5", "p6", "p7", "8"]}}`: `$pool is "p1", none of "p2", "p3", "p4", "p5", "p6", and 2 more`,
		`{"$pool": {"__or": ["p1", "p3"]}}`:                              `$pool is "p1"`,
		`{"tags": ["prod", "db"]}`:                                       `tags has no "db"`,
		`{"tags": ["prod", "a"]}`:                                        `tags has "prod", tags has "a"`,
		`{"tags": {"__not": {"__or": [["x"], ["a"]]}}}`:                  `tags has "a"`,
		`{"tags": {"__not": {"__or": [["x"], ["y"]]}}}`:                  `tags has none of "x", "y"`,
		`{"tags": "prod"}`:                                               `tags is "prod", "a", "b", "c", "d", and 2 more, not "prod"`,
		`{"memory": {"size": {"__or": [4, 6]}}}`:                         `memory.size is 5, none of 4, 6`,
		`{"memory": [1]}`:                                                `memory is an object, not a list`,
		`{"power_state": {"x": 1}}`:                                      `power_state is "Running", not an object`,
		`{"os": {"__or": []}}`:                                           `no alternative is given for os`,
		`{"os": null}`:                                                   `os is null`,
		`{"tags": [{"__not": "prod"}]}`:                                  `tags[1] is "a", not "prod"`,
		`{"tags": [{"x": 1}]}`:                                           `no element of tags fits`,
		`{"__or": [{"os": 1}, {"power_state": "x"}]}`:                    `os is null, not 1 and power_state is "Running", not "x"`,
	} {
		require.Equal(t, want, byPattern(t, text, nil).Explain(web).Reason, text)
	}
	for text, want := range map[string]string{
		``:                 "nothing is asked of it",
		`zz`:               `it does not contain "zz"`,
		`web`:              `it contains "web"`,
		`name_label:db`:    `name_label, "web", does not contain "db"`,
		`name_label:w*`:    `name_label fits w*`,
		`name_label:/^x/i`: `name_label, "web", does not fit /^x/i`,
		`memory:size:>4`:   `memory.size, 5, is > 4`,
		`memory:size:>5`:   `memory.size is 5, not > 5`,
		`memory:4`:         `memory, an object, does not contain 4`,
		`nothing:x`:        `there is no nothing`,
		`os:name:x`:        `there is no os.name`,
		`os?`:              `os is not set`,
		`!tags?`:           `tags is set`,
	} {
		s, err := selector.ByQuery(query(t, text), nil)
		require.NoError(t, err)
		require.Equal(t, want, s.Explain(web).Reason, text)
	}
}

func TestCoverageFindsWhatNoJobProtects(t *testing.T) {
	vms := []selector.VM{
		vm("1", "web", nil), vm("2", "db", nil), vm("3", "scratch", selector.VM{"tags": []any{"xo:no-bak"}}), vm("4", "lab", nil),
		vm("5", "copy", selector.VM{"tags": []any{selector.TagReplica}}), vm("6", "snapshot", selector.VM{"type": "VM-snapshot"}),
	}
	jobs := []selector.Job{
		{Name: "nightly", Selector: byPattern(t, `{"name_label": "web"}`, nil)},
		{Name: "weekly", Selector: byPattern(t, `{"id": {"__or": ["2", "3"]}}`, nil)},
		{Name: "old", Selector: byPattern(t, `{}`, nil), Disabled: true},
	}
	var found []string
	for _, u := range selector.Coverage(vms, jobs) {
		found = append(found, fmt.Sprint(u.VM.Name(), " ", u.Intended, " ", u.Reasons))
	}
	require.Empty(t, cmp.Diff([]string{
		`copy true [nightly: name_label is "copy", not "web" weekly: it is not listed old: the job is disabled]`,
		`lab false [nightly: name_label is "lab", not "web" weekly: it is not listed old: the job is disabled]`,
		`scratch true [nightly: name_label is "scratch", not "web" weekly: it is tagged xo:no-bak old: it is tagged xo:no-bak]`,
	}, found))
	require.Len(t, selector.Coverage(vms, nil), 5)
}

func TestASelectorNeedsSomethingToSelectBy(t *testing.T) {
	_, err := selector.ByPattern(nil, nil)
	require.ErrorIs(t, err, selector.ErrNothing)
	_, err = selector.ByPattern(&selector.Pattern{}, nil)
	require.ErrorIs(t, err, selector.ErrNothing)
	_, err = selector.ByQuery(&selector.Query{}, nil)
	require.ErrorIs(t, err, selector.ErrNothing)
	_, err = selector.ByIDs(nil, nil)
	require.ErrorIs(t, err, selector.ErrNothing)
}

func TestDisksThatAreLeftOut(t *testing.T) {
	require.True(t, selector.NoBackupDisk("data [NOBAK] 2"))
	require.False(t, selector.NoBackupDisk("data [nobak] NOBAK"))
}
