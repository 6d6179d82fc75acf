// SPDX-License-Identifier: MPL-2.0

package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/cmd/internal/doctor"
)

// bundleFile is one file of a bundle.
type bundleFile struct {
	name    string
	content []byte
}

// writeBundle writes what helps with a bug report into a new file. It takes in nothing
// that was not redacted.
func writeBundle(ctx context.Context, f *flags, path string, checks []doctor.Check) error {
	files, err := bundleFiles(ctx, f, checks)
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	for _, file := range files {
		entry, err := w.CreateHeader(&zip.FileHeader{Name: "mimird/" + file.name, Method: zip.Deflate, Modified: time.Now()})
		if err == nil {
			_, err = entry.Write(file.content)
		}
		if err != nil {
			return fmt.Errorf("write bundle: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists; choose another name with --bundle", printable(path))
	}
	if err == nil {
		_, err = out.Write(archive.Bytes())
		err = errors.Join(err, out.Close())
	}
	if err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	return nil
}

func bundleFiles(ctx context.Context, f *flags, checks []doctor.Check) ([]bundleFile, error) {
	var files []bundleFile
	add := func(name string, value any) error {
		raw, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("write bundle: %w", err)
		}
		if raw, err = doctor.RedactJSON(raw); err != nil {
			return err
		}
		files = append(files, bundleFile{name, raw})
		return nil
	}
	system := map[string]any{"cpus": runtime.NumCPU(), "time": time.Now().UTC()}
	if err := errors.Join(add("checks.json", toldChecks(f, checks)), add("version.json", version()), add("system.json", system)); err != nil {
		return nil, err
	}
	if raw, err := os.ReadFile(f.configPath()); err == nil {
		redacted, err := doctor.RedactConfig(raw)
		if err != nil {
			return nil, err
		}
		files = append(files, bundleFile{"mimird.yaml", redacted})
	}
	c, err := f.load()
	if err != nil {
		return files, nil // the checks say why
	}
	api := client.New(f.socket(c))
	defer api.Close()
	status, err := api.Status(ctx)
	if err != nil {
		return files, nil // as above
	}
	err = add("status.json", status)
	return files, err
}

// toldCheck is a check as a bundle has it. The field names are those that are not
// redacted as a whole.
type toldCheck struct {
	Kind   string        `json:"kind"`
	Result doctor.Result `json:"result"`
	Means  string        `json:"means,omitempty"`
	State  string        `json:"state"`
}

// toldChecks leaves out what people are called.
func toldChecks(f *flags, checks []doctor.Check) []toldCheck {
	told := make([]toldCheck, len(checks))
	for i, c := range checks {
		kind, _, of := strings.Cut(c.Name, " ")
		personal := kind == "keys" || of && kind == "contact"
		if !personal {
			kind = c.Name
		}
		told[i] = toldCheck{Kind: kind, Result: c.Result, Means: c.Means, State: doctor.Redacted}
		if !personal {
			told[i].State = strings.ReplaceAll(c.Found, f.dir, "DATA")
		}
	}
	return told
}
