// SPDX-License-Identifier: MPL-2.0

package crash

import (
	"fmt"
	"strings"
)

// Difference is what is wrong with one side of a conversation.
type Difference struct {
	// Accepted is how many messages had to arrive.
	Accepted int
	// Lost were accepted and have not arrived. Doubled have arrived more than once,
	// and are here once for each time too many. Reordered have arrived after one that
	// was accepted later. Unknown were never accepted.
	Lost, Doubled, Reordered, Unknown []string
}

// Compare compares what was accepted with what has arrived, both in order. No two
// accepted messages may be equal.
func Compare(accepted, arrived []string) Difference {
	d := Difference{Accepted: len(accepted)}
	position := make(map[string]int, len(accepted))
	for i, text := range accepted {
		position[text] = i
	}
	seen := make(map[string]bool, len(arrived))
	last := -1
	for _, text := range arrived {
		i, known := position[text]
		switch {
		case !known:
			d.Unknown = append(d.Unknown, text)
		case seen[text]:
			d.Doubled = append(d.Doubled, text)
		case i < last:
			d.Reordered = append(d.Reordered, text)
		default:
			last = i
		}
		seen[text] = true
	}
	for _, text := range accepted {
		if !seen[text] {
			d.Lost = append(d.Lost, text)
		}
	}
	return d
}

// Add counts another conversation, or another place, in.
func (d *Difference) Add(other Difference) {
	d.Accepted += other.Accepted
	d.Lost = append(d.Lost, other.Lost...)
	d.Doubled = append(d.Doubled, other.Doubled...)
	d.Reordered = append(d.Reordered, other.Reordered...)
	d.Unknown = append(d.Unknown, other.Unknown...)
}

// OK reports whether nothing is wrong.
func (d Difference) OK() bool {
	return len(d.Lost)+len(d.Doubled)+len(d.Reordered)+len(d.Unknown) == 0
}

// String is one line of counts. What is wrong is named behind them.
func (d Difference) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "accepted %d lost %d doubled %d reordered %d", d.Accepted, len(d.Lost), len(d.Doubled), len(d.Reordered))
	if len(d.Unknown) > 0 {
		fmt.Fprintf(&b, " unknown %d", len(d.Unknown))
	}
	for _, wrong := range []struct {
		name  string
		texts []string
	}{{"lost", d.Lost}, {"doubled", d.Doubled}, {"reordered", d.Reordered}, {"unknown", d.Unknown}} {
		if len(wrong.texts) > 0 {
			fmt.Fprintf(&b, "\n  %s: %s", wrong.name, list(wrong.texts))
		}
	}
	return b.String()
}

// list names the first texts.
func list(texts []string) string {
	const most = 20
	if len(texts) <= most {
		return strings.Join(texts, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(texts[:most], ", "), len(texts)-most)
}
