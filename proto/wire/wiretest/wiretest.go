// SPDX-License-Identifier: MPL-2.0

// Package wiretest is for the tests of the wire formats: it runs vector files and
// measures what a decoder allocates.
package wiretest

import (
	"encoding/hex"
	"encoding/json"
	"math"
	"runtime"
	"slices"
	"testing"
)

// Vector is one entry of a vector file. The file comes from the specification and
// is never written by our own encoder.
type Vector struct {
	tb     testing.TB
	Name   string                     `json:"name"`
	Inputs map[string]json.RawMessage `json:"inputs"`
	Output json.RawMessage            `json:"output"`
}

// Run runs a check for every vector of a file. It fails when a vector has no
// check, or a check no vector.
func Run(t *testing.T, file []byte, checks map[string]func(*testing.T, Vector)) {
	t.Helper()
	left := make(map[string]bool)
	for name := range checks {
		left[name] = true
	}
	for _, v := range Load(t, file) {
		check, ok := checks[v.Name]
		if !ok {
			t.Errorf("vector %q is not checked", v.Name)
			continue
		}
		delete(left, v.Name)
		t.Run(v.Name, func(t *testing.T) {
			v.tb = t
			check(t, v)
		})
	}
	for name := range left {
		t.Errorf("there is no vector %q", name)
	}
}

// Load returns the vectors of a file.
func Load(tb testing.TB, file []byte) []Vector {
	tb.Helper()
	var parsed struct {
		Vectors []Vector `json:"vectors"`
	}
	if err := json.Unmarshal(file, &parsed); err != nil {
		tb.Fatalf("vector file: %v", err)
	}
	if len(parsed.Vectors) == 0 {
		tb.Fatal("vector file without vectors")
	}
	for i := range parsed.Vectors {
		parsed.Vectors[i].tb = tb
	}
	return parsed.Vectors
}

// Decode unmarshals an input.
func (v Vector) Decode(key string, dst any) {
	v.tb.Helper()
	raw, ok := v.Inputs[key]
	if !ok {
		v.tb.Fatalf("vector %q has no input %q", v.Name, key)
	}
	if err := json.Unmarshal(raw, dst); err != nil {
		v.tb.Fatalf("vector %q, input %q: %v", v.Name, key, err)
	}
}

// Text returns an input that is a string.
func (v Vector) Text(key string) string {
	v.tb.Helper()
	var s string
	v.Decode(key, &s)
	return s
}

// Int returns an input that is a number.
func (v Vector) Int(key string) int64 {
	v.tb.Helper()
	var n int64
	v.Decode(key, &n)
	return n
}

// Hex returns the bytes of an input; nil for null.
func (v Vector) Hex(key string) []byte {
	v.tb.Helper()
	var s *string
	v.Decode(key, &s)
	if s == nil {
		return nil
	}
	return MustHex(v.tb, *s)
}

// Key returns 32 bytes of an input.
func (v Vector) Key(key string) [32]byte {
	v.tb.Helper()
	b := v.Hex(key)
	if len(b) != 32 {
		v.tb.Fatalf("vector %q, input %q: %d bytes", v.Name, key, len(b))
	}
	return [32]byte(b)
}

// DecodeOutput unmarshals the output.
func (v Vector) DecodeOutput(dst any) {
	v.tb.Helper()
	if err := json.Unmarshal(v.Output, dst); err != nil {
		v.tb.Fatalf("vector %q, output: %v", v.Name, err)
	}
}

// OutputText returns an output that is a string.
func (v Vector) OutputText() string {
	v.tb.Helper()
	var s string
	v.DecodeOutput(&s)
	return s
}

// OutputHex returns the bytes of the output.
func (v Vector) OutputHex() []byte {
	v.tb.Helper()
	return MustHex(v.tb, v.OutputText())
}

// HexStrings returns the bytes of every input and output that is hex, for the
// seeds of a fuzz target.
func (v Vector) HexStrings() [][]byte {
	var all [][]byte
	raws := []json.RawMessage{v.Output}
	for _, raw := range v.Inputs {
		raws = append(raws, raw)
	}
	for _, raw := range raws {
		var s string
		if json.Unmarshal(raw, &s) != nil {
			continue
		}
		if b, err := hex.DecodeString(s); err == nil {
			all = append(all, b)
		}
	}
	slices.SortFunc(all, slices.Compare)
	return all
}

// MustHex decodes hex digits.
func MustHex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// allocSlack is what a decoder may allocate besides four times its input.
const allocSlack = 64 << 10

// CheckAllocation fails when f, which decodes input bytes, allocates more than
// four times that plus 64 KiB. Other goroutines disturb the measurement, so the
// least of three counts.
func CheckAllocation(tb testing.TB, input int, f func()) {
	tb.Helper()
	least := uint64(math.MaxUint64)
	limit := uint64(4*input + allocSlack)
	for range 3 {
		if least = min(least, allocated(f)); least <= limit {
			return
		}
	}
	tb.Errorf("%d bytes of input allocate %d, allowed %d", input, least, limit)
}

// CheckAllocationSampled is CheckAllocation on one input in 64, for the body of a
// fuzz target: measuring stops the world.
func CheckAllocationSampled(tb testing.TB, input []byte, f func()) {
	tb.Helper()
	sum := len(input)
	for _, c := range input {
		sum += int(c)
	}
	if sum%64 == 0 {
		CheckAllocation(tb, len(input), f)
	}
}

func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
