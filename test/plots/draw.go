// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"image/color"
	"io/fs"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	plotdraw "gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// What is read, and what is drawn from it.
const (
	ratioResults  = "docs/measured/bench.txt"
	growthResults = "docs/measured/growth.txt"
	ratioPicture  = "docs/pictures/performance-ratios.svg"
	growthPicture = "docs/pictures/performance-growth.svg"
)

const (
	width = 7.5 * vg.Inch
	// margin is at the left and the right, for fonts that are wider than the one that the
	// places of texts are computed for.
	margin = 24
	// labelSpace is how far apart two labels of lines are, in parts of ten of the cost.
	labelSpace = 0.33
	// mostRatio is where bars end: what is so much faster than wanted needs no scale.
	mostRatio = 1.5
)

// The pictures have a background of their own, so that they are read on a dark page too.
var (
	reached = color.RGBA{0x2a, 0x7f, 0x62, 0xff}
	missed  = color.RGBA{0xd9, 0x7b, 0x29, 0xff}
	faint   = color.RGBA{0xdd, 0xdd, 0xdd, 0xff}
	lineOf  = []color.Color{
		color.RGBA{0x1f, 0x77, 0xb4, 0xff},
		color.RGBA{0xd6, 0x27, 0x28, 0xff},
		color.RGBA{0x2c, 0xa0, 0x2c, 0xff},
		color.RGBA{0x94, 0x67, 0xbd, 0xff},
		color.RGBA{0x8c, 0x56, 0x4b, 0xff},
		color.RGBA{0x17, 0x80, 0x90, 0xff},
		color.RGBA{0xb0, 0x6a, 0x00, 0xff},
		color.RGBA{0x55, 0x55, 0x55, 0xff},
	}
)

// draw returns the pictures by their names.
func draw(repo fs.FS) (map[string][]byte, error) {
	out := make(map[string][]byte)
	raw, err := fs.ReadFile(repo, ratioResults)
	if err != nil {
		return nil, err
	}
	ratios, err := readRatios(string(raw))
	if err == nil {
		out[ratioPicture], err = drawRatios(ratios)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ratioResults, err)
	}
	if raw, err = fs.ReadFile(repo, growthResults); err != nil {
		return nil, err
	}
	growths, err := readGrowth(string(raw))
	if err == nil {
		out[growthPicture], err = drawGrowth(growths)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", growthResults, err)
	}
	return out, nil
}

// newPlot returns an empty picture with a title.
func newPlot(title string) *plot.Plot {
	p := plot.New()
	p.Title.Text = title
	p.Title.Padding = 6
	for _, style := range []*text.Style{
		&p.Title.TextStyle, &p.X.Label.TextStyle, &p.Y.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label, &p.Legend.TextStyle,
	} {
		style.Font.Variant = "Sans"
		style.Font.Size = font.Length(10)
	}
	p.Title.TextStyle.Font.Size = 12
	p.BackgroundColor = color.White
	return p
}

// drawRatios draws a bar for each ratio, and a mark where it is wanted.
func drawRatios(ratios []ratio) ([]byte, error) {
	if len(ratios) == 0 {
		return nil, errors.New("no ratio is wanted")
	}
	ratios = slices.Clone(ratios)
	slices.Reverse(ratios) // the first one is at the top
	p := newPlot("Speed as a ratio to a baseline of the same run")
	p.X.Min, p.X.Max = 0, mostRatio+0.5 // for the legend
	names := make([]string, len(ratios))
	good, bad := make(plotter.Values, len(ratios)), make(plotter.Values, len(ratios))
	wants := make(plotter.XYs, len(ratios))
	labels := plotter.XYLabels{XYs: make(plotter.XYs, len(ratios)), Labels: make([]string, len(ratios))}
	for i, r := range ratios {
		names[i] = r.name + "   " // not next to the bar, also in a wider font
		bar := min(r.measured, mostRatio)
		if r.measured >= r.wants {
			good[i] = bar
		} else {
			bad[i] = bar
		}
		wants[i] = plotter.XY{X: r.wants, Y: float64(i)}
		labels.XYs[i] = plotter.XY{X: max(bar, r.wants), Y: float64(i)}
		labels.Labels[i] = fmt.Sprintf("%.2f", r.measured)
	}
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = faint, nil
	p.Add(grid)
	for _, bars := range []struct {
		name   string
		values plotter.Values
		color  color.Color
	}{{"as wanted, or faster", good, reached}, {"slower", bad, missed}} {
		chart, err := plotter.NewBarChart(bars.values, 9)
		if err != nil {
			return nil, err
		}
		chart.Horizontal, chart.Color, chart.LineStyle.Width = true, bars.color, 0
		p.Add(chart)
		p.Legend.Add(bars.name, chart)
	}
	marks, err := plotter.NewScatter(wants)
	if err != nil {
		return nil, err
	}
	marks.GlyphStyle = plotdraw.GlyphStyle{Color: color.Black, Radius: 7, Shape: upright{}}
	p.Add(marks)
	p.Legend.Add("wanted", marks)
	p.Legend.Top, p.Legend.Left, p.Legend.Padding, p.Legend.XOffs = true, true, 4, width/2-margin
	written, err := plotter.NewLabels(labels)
	if err != nil {
		return nil, err
	}
	for i := range written.TextStyle {
		written.TextStyle[i] = p.X.Tick.Label
		written.TextStyle[i].YAlign, written.TextStyle[i].XAlign = text.YCenter, text.XLeft
	}
	written.Offset.X = 7
	p.Add(written)
	p.NominalY(names...)
	return encode(p, vg.Length(len(ratios))*17+80)
}

// upright is a mark in the shape of a line.
type upright struct{}

func (upright) DrawGlyph(c *plotdraw.Canvas, style plotdraw.GlyphStyle, at vg.Point) {
	c.StrokeLine2(plotdraw.LineStyle{Color: style.Color, Width: 1.6}, at.X, at.Y-style.Radius, at.X, at.Y+style.Radius)
}

// drawGrowth draws a line for each figure, which is level where the whole cost is linear.
func drawGrowth(growths []growth) ([]byte, error) {
	if len(growths) == 0 {
		return nil, errors.New("nothing was measured at two sizes")
	}
	p := newPlot("Processor time for one item, as a node has more")
	p.X.Label.Text, p.Y.Label.Text = "messages", "microseconds"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = decades{}, decades{}
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = faint, faint
	p.Add(grid)
	type label struct {
		text   string
		last   float64 // the number of messages at the end of the line
		height float64 // the logarithm of the cost there
		color  color.Color
	}
	var labels []label
	least, most := math.Inf(1), 0.0
	for i, g := range growths {
		points := make(plotter.XYs, len(g.costs))
		for i, c := range g.costs {
			points[i] = plotter.XY{X: c.messages, Y: c.micros}
			least, most = min(least, c.micros), max(most, c.micros)
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, err
		}
		line.Color, line.Width = lineOf[i%len(lineOf)], 1.8
		dots.GlyphStyle = plotdraw.GlyphStyle{Color: line.Color, Radius: 2.6, Shape: plotdraw.CircleGlyph{}}
		p.Add(line, dots)
		end := g.costs[len(g.costs)-1]
		name := g.name
		if g.item != name {
			name += ", " + g.item
		}
		labels = append(labels, label{name, end.messages, math.Log10(end.micros), line.Color})
	}
	slices.SortStableFunc(labels, func(a, b label) int { return cmp.Compare(a.height, b.height) })
	texts := plotter.XYLabels{}
	for i, l := range labels {
		if i > 0 {
			l.height = max(l.height, labels[i-1].height+labelSpace)
			labels[i] = l
		}
		texts.XYs = append(texts.XYs, plotter.XY{X: l.last, Y: math.Pow(10, l.height)})
		texts.Labels = append(texts.Labels, l.text)
		most = max(most, math.Pow(10, l.height))
	}
	written, err := plotter.NewLabels(texts)
	if err != nil {
		return nil, err
	}
	for i := range written.TextStyle {
		written.TextStyle[i] = p.X.Tick.Label
		written.TextStyle[i].YAlign, written.TextStyle[i].XAlign = text.YCenter, text.XLeft
		written.TextStyle[i].Color = labels[i].color
	}
	written.Offset.X = 7
	p.Add(written)
	p.Y.Min, p.Y.Max = math.Pow(10, math.Floor(math.Log10(least))), math.Pow(10, math.Ceil(math.Log10(most)))
	return encode(p, 4.2*vg.Inch)
}

// decades marks the powers of ten.
type decades struct{}

func (decades) Ticks(least, most float64) (out []plot.Tick) {
	for e := math.Floor(math.Log10(least)); e <= math.Ceil(math.Log10(most)); e++ {
		out = append(out, plot.Tick{Value: math.Pow(10, e), Label: grouped(e)})
	}
	return out
}

// grouped writes a power of ten as people do: 0.01, 1,000,000.
func grouped(exponent float64) string {
	if exponent < 0 {
		return fmt.Sprintf("%.*f", int(-exponent), math.Pow(10, exponent))
	}
	digits := fmt.Sprintf("%.0f", math.Pow(10, exponent))
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// encode returns a picture as SVG. It names fonts that are as wide as the one that the
// places of texts are computed for.
func encode(p *plot.Plot, height vg.Length) ([]byte, error) {
	canvas := vgsvg.New(width, height)
	page := plotdraw.New(canvas)
	page.SetColor(p.BackgroundColor)
	page.Fill(page.Path())
	p.Draw(plotdraw.Crop(page, margin, -margin, 8, -8))
	var out bytes.Buffer
	if _, err := canvas.WriteTo(&out); err != nil {
		return nil, err
	}
	return bytes.ReplaceAll(out.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;")), nil
}
