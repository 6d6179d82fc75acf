// SPDX-License-Identifier: MPL-2.0

package warnings

import (
	"fmt"

	"github.com/mimird/mimird/actors/contact"
)

// suspicionWarning says what was tried, and what to do.
func suspicionWarning(s contact.Suspicion) Warning {
	w := Warning{Code: string(s.Kind), Since: s.Since}
	times := "once"
	if s.Count > 1 {
		times = fmt.Sprintf("%d times", s.Count)
	}
	switch s.Kind {
	case contact.SuspicionRelay:
		w.Text = fmt.Sprintf("Node %s, which calls itself %s, wanted account %s to sign what was meant for another connection, %s: "+
			"somebody tries to be in the middle of a conversation. Nothing was signed. If you know who that is, block them.",
			s.Node, s.Remote, s.Account.Short(), times)
	case contact.SuspicionDevice:
		w.Text = fmt.Sprintf("Node %s connected as contact %s of account %s, %s, and was turned away: no tracker names it, and a "+
			"device that is known answers. Ask the contact whether it is theirs; if it is: mimird contact trust %s %s.",
			s.Node, s.Remote, s.Account.Short(), times, s.Remote, s.Node)
	}
	return w
}
