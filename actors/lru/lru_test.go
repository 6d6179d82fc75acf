// SPDX-License-Identifier: MPL-2.0

package lru

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestTable_EvictsTheLeastRecentlyUsed(t *testing.T) {
	table := New[string, int](2)
	put := func(key string, value int, evicts ...int) {
		t.Helper()
		var got []int
		if evicted, ok := table.Put(key, value); ok {
			got = append(got, evicted)
		}
		if !slices.Equal(got, evicts) {
			t.Errorf("%s evicts %v, want %v", key, got, evicts)
		}
	}
	put("a", 1)
	put("b", 2)
	put("a", 3) // is used, and changed
	put("c", 4, 2)
	if value, ok := table.Peek("a"); !ok || value != 3 {
		t.Errorf("a is %d, %v", value, ok)
	}
	put("d", 5, 3) // Peek does not count as a use
	if value, ok := table.Get("c"); !ok || value != 4 {
		t.Errorf("c is %d, %v", value, ok)
	}
	put("e", 6, 5) // Get does
	table.Delete("c")
	table.Delete("c")
	put("f", 7)
	if _, ok := table.Get("c"); ok || table.Len() != 2 {
		t.Errorf("c: %v, %d entries", ok, table.Len())
	}
}

// The table agrees with a slice that is searched.
func TestTable_Model(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(1, 5).Draw(t, "max")
		table := New[int, int](most)
		type pair struct{ key, value int }
		var model []pair // the one used last first
		find := func(key int) int { return slices.IndexFunc(model, func(p pair) bool { return p.key == key }) }
		key := rapid.IntRange(0, 8)
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				p := pair{key.Draw(t, "key"), rapid.Int().Draw(t, "value")}
				if i := find(p.key); i >= 0 {
					model = slices.Delete(model, i, i+1)
				}
				model = append([]pair{p}, model...)
				evicted, ok := table.Put(p.key, p.value)
				if want := len(model) > most; ok != want || ok && evicted != model[most].value {
					t.Fatalf("evicted %d, %v of %v", evicted, ok, model)
				}
				model = model[:min(len(model), most)]
			},
			"get": func(t *rapid.T) {
				k := key.Draw(t, "key")
				value, ok := table.Get(k)
				i := find(k)
				if ok != (i >= 0) || ok && value != model[i].value {
					t.Fatalf("got %d, %v of %v", value, ok, model)
				}
				if ok {
					p := model[i]
					model = append([]pair{p}, slices.Delete(model, i, i+1)...)
				}
			},
			"delete": func(t *rapid.T) {
				k := key.Draw(t, "key")
				table.Delete(k)
				model = slices.DeleteFunc(model, func(p pair) bool { return p.key == k })
			},
			"": func(t *rapid.T) {
				if table.Len() != len(model) || len(table.entries) != len(model) {
					t.Fatalf("%d entries, %d in the map, want %d", table.Len(), len(table.entries), len(model))
				}
				for _, p := range model {
					if value, ok := table.Peek(p.key); !ok || value != p.value {
						t.Fatalf("%d is %d, %v", p.key, value, ok)
					}
				}
				i := 0
				for key, value := range table.All() {
					if i == len(model) || model[i] != (pair{key, value}) {
						t.Fatalf("entry %d is %d, %d, want %v", i, key, value, model)
					}
					i++
				}
				if i != len(model) {
					t.Fatalf("%d entries, want %d", i, len(model))
				}
				for range table.All() {
					break // a caller need not read to the end
				}
			},
		})
	})
}
