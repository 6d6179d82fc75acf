// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A list is printed as it comes, in blocks, and as JSON it is what the whole would be.
func TestPrintList_AsItComes(t *testing.T) {
	for _, count := range []int{0, 1, 2, listBlock, 2*listBlock + 1} {
		numbers := make([]int, count)
		for i := range numbers {
			numbers[i] = i
		}
		each := func(handle func(int) error) error {
			for _, n := range numbers {
				if err := handle(n); err != nil {
					return err
				}
			}
			return nil
		}
		var got, want bytes.Buffer
		blocks := 0
		n, err := printList(&flags{}, &got, each, func(block []int) { blocks++; fmt.Fprintln(&got, block) })
		if err != nil || n != count || blocks != (count+listBlock-1)/listBlock {
			t.Errorf("%d numbers: %d in %d blocks, %v", count, n, blocks, err)
		}
		got.Reset()
		if n, err := printList(&flags{json: true}, &got, each, func([]int) { t.Error("text") }); err != nil || n != count {
			t.Error(n, err)
		}
		if err := (&flags{json: true}).print(&want, numbers, nil); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.String(), got.String()); diff != "" {
			t.Error(diff)
		}
	}
}

// What came before an error is printed, and the first element of a list at once.
func TestPrintList_Failure_AfterWhatCame(t *testing.T) {
	failed := errors.New("failed")
	for _, json := range []bool{false, true} {
		var got bytes.Buffer
		each := func(handle func(int) error) error {
			for i := range 3 {
				if err := handle(i); err != nil {
					return err
				}
				if json && got.Len() == 0 {
					t.Error("the first element waits for others")
				}
			}
			return failed
		}
		n, err := printList(&flags{json: json}, &got, each, func(block []int) { fmt.Fprintln(&got, block) })
		if want := map[bool]string{false: "[0 1 2]\n", true: "[\n  0,\n  1,\n  2"}[json]; !errors.Is(err, failed) || n != 3 || got.String() != want {
			t.Errorf("%d %v %q", n, err, got.String())
		}
	}
}
