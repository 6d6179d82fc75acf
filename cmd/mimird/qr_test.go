// SPDX-License-Identifier: MPL-2.0

//go:build unix

package main

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"

	"github.com/mimird/mimird/proto/identity"
)

// Other software reads the codes, whatever they say.
func TestQRCodesCanBeRead(t *testing.T) {
	t.Parallel()
	key, err := identity.ParsePublicKey(bobKey)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 64 {
		link := identity.Link{Key: key, Name: strings.Repeat("Ünter & Söhne ", n/8) + fmt.Sprint(n)}.String()
		var printed bytes.Buffer
		printLink(&printed, link, true)
		// An account's name of usual length leaves a line for the prompt below.
		if lines := strings.Count(printed.String(), "\n") + len("  your link   "+link)/screenWidth; len(link) <= 106 && lines >= screenHeight {
			t.Errorf("the code of %q takes %d lines", link, lines)
		}
		if read, err := readQR(printed.String()); read != link || err != nil {
			t.Errorf("the code of %q says %q, %v", link, read, err)
		}
	}
}

// qr checks the QR code in a file.
func (w *world) qr(args []string) error {
	read, err := readQR(w.ts.ReadFile(args[0]))
	if err == nil && read != args[1] {
		err = fmt.Errorf("the QR code says %q, want %q", read, args[1])
	}
	return err
}

// readQR reads the first QR code of a text: what is printed is light, as on a dark
// terminal.
func readQR(text string) (string, error) {
	var rows [][]rune
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.Trim(line, "█▀▄ ") == "" && strings.ContainsAny(line, "█▀▄") {
			rows = append(rows, []rune(line))
		} else if len(rows) > 0 {
			break
		}
	}
	if len(rows) == 0 {
		return "", errors.New("there is no QR code")
	}
	width := len(rows[0])
	code := image.NewGray(image.Rect(0, 0, width, 2*len(rows)))
	for y, row := range rows {
		if len(row) != width {
			return "", fmt.Errorf("line %d of the QR code has %d characters, the first %d", y+1, len(row), width)
		}
		for x, block := range row {
			if block == '█' || block == '▀' {
				code.SetGray(x, 2*y, color.Gray{255})
			}
			if block == '█' || block == '▄' {
				code.SetGray(x, 2*y+1, color.Gray{255})
			}
		}
	}
	for x := range width { // the standard wants 4 light modules around, readers take 1
		if code.GrayAt(x, 0).Y == 0 || code.GrayAt(x, width-1).Y == 0 || code.GrayAt(0, x).Y == 0 || code.GrayAt(width-1, x).Y == 0 {
			return "", errors.New("the QR code has no light around it")
		}
	}
	const scale = 3
	screen := image.NewGray(image.Rect(0, 0, scale*width, scale*width))
	for y := range width {
		for x := range width {
			draw.Draw(screen, image.Rect(scale*x, scale*y, scale*x+scale, scale*y+scale), image.NewUniform(code.GrayAt(x, y)), image.Point{}, draw.Src)
		}
	}
	bitmap, err := gozxing.NewBinaryBitmapFromImage(screen)
	if err != nil {
		return "", err
	}
	read, err := qrcode.NewQRCodeReader().Decode(bitmap, map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_PURE_BARCODE: true})
	if err != nil {
		return "", fmt.Errorf("read the QR code: %w", err)
	}
	return read.GetText(), nil
}
