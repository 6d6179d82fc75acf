// SPDX-License-Identifier: MPL-2.0

package connector

import "testing"

func TestFold_CompatibilityFormsAreOne(t *testing.T) {
	if fold("Ｂｏｂ") != fold("bob") || fold("B\u200bob") != "bob" || fold("Bob") == fold("Rob") {
		t.Errorf("%q, %q", fold("Ｂｏｂ"), fold("B\u200bob"))
	}
}
