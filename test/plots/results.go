// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// ratio is a line of make bench with a wanted ratio.
type ratio struct {
	name            string
	measured, wants float64
}

// growth is a line of make bench-growth: what one item costs, in microseconds, by the
// number of messages.
type growth struct {
	name, item string
	costs      []cost
}

type cost struct{ messages, micros float64 }

var (
	ratioLine  = regexp.MustCompile(`^bench (\S+) ([0-9.]+)x of .*?(?:, wanted ([0-9.]+)x: (?:ok|MISSED))?$`)
	growthLine = regexp.MustCompile(`^bench growth-(\S+) (.+) per (\w+), wanted .*: (?:ok|MISSED)$`)
	costText   = regexp.MustCompile(`^([0-9.]+)us at ([0-9]+)$`)
)

// lines calls f with the lines of results without the comments, and says which one f
// refuses.
func lines(results string, f func(line string) error) error {
	for i, line := range strings.Split(results, "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := f(line); err != nil {
			return fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return nil
}

// readRatios returns the ratios for which there is a wanted one.
func readRatios(results string) (out []ratio, err error) {
	err = lines(results, func(line string) error {
		match := ratioLine.FindStringSubmatch(line)
		if match == nil {
			return fmt.Errorf("%.64q is not a line of make bench", line)
		}
		if match[3] == "" {
			return nil
		}
		values, err := numbers(match[2], match[3])
		if err != nil {
			return err
		}
		out = append(out, ratio{match[1], values[0], values[1]})
		return nil
	})
	return out, err
}

// readGrowth returns the figures that were measured at more than one size.
func readGrowth(results string) (out []growth, err error) {
	err = lines(results, func(line string) error {
		match := growthLine.FindStringSubmatch(line)
		if match == nil {
			return fmt.Errorf("%.64q is not a line of make bench-growth", line)
		}
		g := growth{name: match[1], item: match[3]}
		for text := range strings.SplitSeq(match[2], ", ") {
			parts := costText.FindStringSubmatch(text)
			if parts == nil {
				return fmt.Errorf("%.64q is not a cost at a size", text)
			}
			values, err := numbers(parts[1], parts[2])
			if err != nil {
				return err
			}
			if values[0] <= 0 || values[1] <= 0 {
				return fmt.Errorf("%.64q has no place on a logarithmic scale", text)
			}
			g.costs = append(g.costs, cost{messages: values[1], micros: values[0]})
		}
		if len(g.costs) > 1 {
			out = append(out, g)
		}
		return nil
	})
	return out, err
}

func numbers(texts ...string) (out []float64, err error) {
	for _, text := range texts {
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, err
		}
		out = append(out, value)
	}
	return out, nil
}
