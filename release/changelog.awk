# SPDX-License-Identifier: MPL-2.0
# Makes a changelog of Debian's form of CHANGELOG.md:
# awk -v version=0.2.0 -v dates="0.2.0=DATE;0.1.0=DATE" -f release/changelog.awk CHANGELOG.md
#
# What is unreleased becomes the entry of the version, unless the version has a heading of its own. A version without a
# date of its own gets that of the version that is made.

function wrap(begin, rest, text, words, n, i, line) {
	n = split(text, words, " ")
	line = begin
	for (i = 1; i <= n; i++) {
		if (i > 1 && length(line) + 1 + length(words[i]) > 78) {
			print line
			line = rest words[i]
		} else {
			line = line (i == 1 ? "" : " ") words[i]
		}
	}
	print line
}
function item() { # ends an item of a list
	if (text != "") wrap(bullet, bullet == "  " ? bullet : "    ", text)
	if (text != "") first = 0
	text = ""
}
function entry() { # ends the entry of a version
	item()
	if (name != "") printf "\n -- mimird maintainers <maintainers@example.invalid>  %s\n\n", (name in date ? date[name] : date[version])
	name = ""
}
BEGIN {
	n = split(dates, pairs, ";")
	for (i = 1; i <= n; i++) {
		split(pairs[i], pair, "=")
		date[pair[1]] = pair[2]
	}
	while ((getline line < ARGV[1]) > 0) {
		split(line, words, " ")
		if (words[1] == "##" && words[2] == version) own = 1
	}
	close(ARGV[1])
}
/^## / {
	entry()
	name = $2
	if (name == "Unreleased") name = own ? "" : version
	if (name != "") printf "mimird (%s) unstable; urgency=medium\n\n", name
	first = 1
	next
}
name == "" { next }
/^### / { item(); printf "%s  [ %s ]\n", first ? "" : "\n", substr($0, 5); first = 0; next }
/^- / { item(); bullet = "  * "; text = substr($0, 3); next }
/^  / { text = text " " substr($0, 3); next }
/^$/ { item(); next }
{ if (text == "") bullet = "  "; text = text (text == "" ? "" : " ") $0 }
END { entry() }
