// SPDX-License-Identifier: MPL-2.0

//go:build !unix

package budget_test

import (
	"testing"
	"time"
)

// processorTime cannot be told here; what depends on it is not measured.
func processorTime(*testing.T) time.Duration { return 0 }
