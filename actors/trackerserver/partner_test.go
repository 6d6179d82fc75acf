// SPDX-License-Identifier: MPL-2.0

package trackerserver

import "testing"

func TestParsePartner(t *testing.T) {
	const key = "e1436b91fbcbbfe694177da47103b4e370658ba2db31e7879a8d613a447c9302"
	for s, ok := range map[string]bool{key: true, key + ":69": true, key + ":70": false, "": false, key[1:]: false} {
		p, err := ParsePartner(s)
		if ok != (err == nil) || ok && p.String() != s {
			t.Errorf("%q: %v, error %v", s, p, err)
		}
	}
}
