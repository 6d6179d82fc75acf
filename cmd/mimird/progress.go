// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"io"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progress shows how far a transfer is: as a bar on a terminal, else as a line for each
// tenth. Its owner calls finish, after which nothing is printed.
type progress struct {
	out  io.Writer
	name string

	bars *mpb.Progress
	bar  *mpb.Bar
	// tenths is how many tenths have been told.
	tenths int64
}

// newProgress makes a progress of something with a name. quiet prints nothing.
func newProgress(out io.Writer, name string, quiet bool) *progress {
	p := &progress{out: out, name: printable(cut(name))}
	switch {
	case quiet:
		p.out = nil
	case isTerminal(out):
		p.bars = mpb.New(mpb.WithOutput(out), mpb.WithWidth(40))
	}
	return p
}

// update says how much has been transferred. Without a size nothing is shown.
func (p *progress) update(done, size int64) {
	if p.out == nil || size <= 0 {
		return
	}
	done = min(done, size)
	if p.bars != nil {
		if p.bar == nil {
			p.bar = p.bars.AddBar(size, mpb.BarRemoveOnComplete(),
				mpb.PrependDecorators(decor.Name(p.name+" ")),
				mpb.AppendDecorators(decor.CountersKibiByte("% .1f / % .1f"), decor.Percentage(decor.WCSyncSpace)))
		}
		p.bar.SetCurrent(done)
		return
	}
	if tenths := 10 * done / size; tenths > p.tenths {
		p.tenths = tenths
		fmt.Fprintf(p.out, "%s: %d%% of %s\n", p.name, 10*tenths, sizeText(size))
	}
}

// finish ends the display.
func (p *progress) finish() {
	if p.bars == nil {
		return
	}
	if p.bar != nil {
		p.bar.Abort(true)
	}
	p.bars.Wait()
}
