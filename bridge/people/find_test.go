// SPDX-License-Identifier: MPL-2.0

package people

import "testing"

func TestFold_CompatibilityFormsAreOne(t *testing.T) {
	if Fold("Ｂｏｂ") != Fold("bob") || Fold("B\u200bob") != "bob" || Fold("Bob") == Fold("Rob") {
		t.Errorf("%q, %q", Fold("Ｂｏｂ"), Fold("B\u200bob"))
	}
}
