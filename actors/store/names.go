// SPDX-License-Identifier: MPL-2.0

package store

import "slices"

// DisplayName returns the name that a person sees of a contact: the one that our user
// has given, else the contact's own, else the beginning of the key.
func (c *Contact) DisplayName() string {
	switch {
	case c.LocalName != "":
		return c.LocalName
	case c.Nickname != "":
		return c.Nickname
	}
	return c.ID.Short()
}

// setNickname changes the nickname of a contact. Of an accepted one the former name
// is remembered, and since when it was borne; one that is taken up again counts
// from then.
func (c *Contact) setNickname(name string, now Millis) {
	if c.State != ContactAccepted {
		c.Nickname, c.NicknameSince = name, 0
		return
	}
	if c.Nickname != "" {
		c.FormerNames = append(slices.Clone(c.FormerNames), FormerName{Name: c.Nickname, Since: c.nicknameSince()})
	}
	c.Nickname, c.NicknameSince = name, now
	if i := slices.IndexFunc(c.FormerNames, func(f FormerName) bool { return f.Name == name }); i >= 0 {
		c.NicknameSince = c.FormerNames[i].Since
		c.FormerNames = slices.Delete(c.FormerNames, i, i+1)
	}
	c.FormerNames = c.FormerNames[max(0, len(c.FormerNames)-MaxFormerNames):]
	if len(c.FormerNames) == 0 {
		c.FormerNames = nil
	}
}

func (c *Contact) nicknameSince() Millis {
	if c.NicknameSince != 0 {
		return c.NicknameSince
	}
	return c.Added
}

// Bears reports whether an accepted contact bears a name now, or has borne one that
// matches, and since when.
func (c *Contact) Bears(matches func(name string) bool) (now, ever bool, since Millis) {
	if c.State != ContactAccepted {
		return false, false, 0
	}
	if c.Nickname != "" && matches(c.Nickname) {
		now, ever, since = true, true, c.nicknameSince()
	}
	for _, f := range c.FormerNames {
		if matches(f.Name) && (!ever || f.Since < since) {
			ever, since = true, f.Since
		}
	}
	return now, ever, since
}
