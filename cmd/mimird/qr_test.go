// SPDX-License-Identifier: MPL-2.0

//go:build unix

package main

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"strings"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
)

// qr reads the first QR code of a file as a phone's camera would see it on a dark
// terminal, where what is printed is light.
func (w *world) qr(args []string) error {
	var rows [][]rune
	for line := range strings.Lines(w.ts.ReadFile(args[0])) {
		line = strings.TrimSuffix(line, "\n")
		if strings.Trim(line, "█▀▄ ") == "" && strings.ContainsAny(line, "█▀▄") {
			rows = append(rows, []rune(line))
		} else if len(rows) > 0 {
			break
		}
	}
	if len(rows) == 0 {
		return errors.New("there is no QR code")
	}
	const scale, quiet = 4, 4 // pixels of a module, modules of dark around the code
	width := len(rows[0])
	screen := image.NewGray(image.Rect(0, 0, scale*(width+2*quiet), scale*(2*len(rows)+2*quiet)))
	for y, row := range rows {
		if len(row) != width {
			return fmt.Errorf("line %d of the QR code has %d characters, the first %d", y+1, len(row), width)
		}
		for x, block := range row {
			light(screen, scale, quiet+x, quiet+2*y, block == '█' || block == '▀')
			light(screen, scale, quiet+x, quiet+2*y+1, block == '█' || block == '▄')
		}
	}
	bitmap, err := gozxing.NewBinaryBitmapFromImage(screen)
	if err != nil {
		return err
	}
	read, err := qrcode.NewQRCodeReader().Decode(bitmap, nil)
	if err != nil {
		return fmt.Errorf("read the QR code: %w", err)
	}
	if read.GetText() != args[1] {
		return fmt.Errorf("the QR code says %q, want %q", read.GetText(), args[1])
	}
	return nil
}

func light(screen *image.Gray, scale, x, y int, on bool) {
	if !on {
		return
	}
	for i := range scale * scale {
		screen.SetGray(scale*x+i%scale, scale*y+i/scale, color.Gray{255})
	}
}
