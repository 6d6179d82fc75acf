// SPDX-License-Identifier: MPL-2.0

// What the page does beyond links and forms: it keeps the newest message in view and the
// number of messages in memory bounded, says what was read, and takes files by drag and
// drop. Everything works without it.
(() => {
	"use strict";
	const maxRows = 400; // in a conversation; what is further away is asked for again
	const log = document.getElementById("log");
	const csrf = document.body.dataset.csrf;

	// Times in the browser's own zone, with the hours as the node writes them.
	const format = (parts) => new Intl.DateTimeFormat([], parts);
	const hours = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
	const clock = format(hours);
	const day = format({ weekday: "long", year: "numeric", month: "long", day: "numeric" });
	const full = format({ year: "numeric", month: "short", day: "numeric", ...hours });
	const date = format({ month: "short", day: "numeric" });
	const dateOfYear = format({ year: "numeric", month: "short", day: "numeric" });
	function timeText(t) {
		const at = new Date(t.dateTime), now = new Date();
		if (t.dataset.day !== undefined) return day.format(at);
		if (t.dataset.full !== undefined) return full.format(at);
		if (t.dataset.short === undefined || at.toDateString() === now.toDateString()) return clock.format(at);
		return (at.getFullYear() === now.getFullYear() ? date : dateOfYear).format(at);
	}
	function localise(root) {
		for (const t of root.querySelectorAll("time[datetime]:not([data-local])")) {
			t.dataset.local = "";
			t.textContent = timeText(t);
		}
	}
	localise(document);

	for (const button of document.querySelectorAll("button[data-copy]")) {
		button.hidden = !navigator.clipboard;
		button.addEventListener("click", async () => {
			await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).value);
			button.textContent = "Copied";
		});
	}

	// The page is behind by more than a stream tells.
	document.addEventListener("stale", () => location.reload());

	// Menus of messages.
	const menu = document.getElementById("menu");
	document.addEventListener("htmx:after:swap", (e) => {
		const target = e.detail.ctx && e.detail.ctx.target;
		localise(document);
		if (menu && target === menu && !menu.open) menu.showModal();
		if (target && target.id === "composer") {
			if (menu && menu.open) menu.close();
			const text = document.getElementById("text");
			if (text) { grow(text); text.focus(); }
		}
	});
	if (menu) menu.addEventListener("submit", (e) => {
		if (e.target.method !== "dialog") setTimeout(() => menu.close(), 0);
	});

	// The composer.
	function grow(text) { // by lines; the style sheet does it by width, where browsers can
		text.rows = Math.min(text.value.split("\n").length, 8);
	}
	document.addEventListener("input", (e) => { if (e.target.id === "text") grow(e.target); });
	document.addEventListener("keydown", (e) => {
		if (e.target.id !== "text" || e.key !== "Enter" || e.shiftKey || e.isComposing) return;
		if (matchMedia("(pointer: coarse)").matches) return; // there Enter is for lines
		e.preventDefault();
		e.target.form.requestSubmit();
	});
	function choose(files) {
		const input = document.getElementById("file");
		if (!input || !files.length) return;
		input.files = files;
		input.dispatchEvent(new Event("change", { bubbles: true }));
	}
	document.addEventListener("change", (e) => {
		if (e.target.id !== "file") return;
		document.getElementById("chosen").textContent = Array.from(e.target.files, (f) => f.name).join(", ");
	});
	document.addEventListener("dragover", (e) => {
		if (!document.getElementById("composer") || !e.dataTransfer.types.includes("Files")) return;
		e.preventDefault();
		document.body.classList.add("dropping");
	});
	for (const over of ["dragleave", "drop"]) document.addEventListener(over, () => document.body.classList.remove("dropping"));
	document.addEventListener("drop", (e) => {
		if (!document.getElementById("composer") || !e.dataTransfer.files.length) return;
		e.preventDefault();
		choose(e.dataTransfer.files);
	});
	document.addEventListener("paste", (e) => {
		if (e.target.id === "text" && e.clipboardData.files.length) {
			e.preventDefault();
			choose(e.clipboardData.files);
		}
	});

	if (!log) return;

	// The messages.
	const rows = () => log.querySelectorAll(".msg").length;
	const atEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 80;
	const isLive = () => document.getElementById("new") !== null;
	const wanted = location.hash.startsWith("#m-") && document.getElementById(location.hash.slice(1));
	if (wanted) wanted.scrollIntoView({ block: "center" });
	else log.scrollTop = log.scrollHeight;

	function more(kind, query, text) {
		const here = location.pathname;
		const a = document.createElement("a");
		a.className = "more " + kind;
		a.href = here + "?" + query;
		a.setAttribute("hx-get", here + "?" + query + "&part=" + kind);
		a.setAttribute("hx-trigger", "click, intersect once");
		a.setAttribute("hx-swap", "outerHTML");
		a.textContent = text;
		return a;
	}
	const ends = (page) => {
		const all = page.querySelectorAll(".msg");
		return all.length ? [all[0].dataset.order, all[all.length - 1].dataset.order] : [page.dataset.first, page.dataset.last];
	};

	// trim removes what is furthest away from where the reader is.
	function trim(keepEnd) {
		const pages = Array.from(log.querySelectorAll("ol.page"));
		while (rows() > maxRows && pages.length > 2) {
			if (keepEnd) {
				const old = pages.shift();
				log.querySelectorAll(".more.older").forEach((a) => a.remove());
				const first = ends(pages[0])[0];
				old.remove();
				const link = more("older", "before=" + first, "Older messages");
				log.prepend(link);
				htmx.process(link);
			} else {
				const old = pages.pop();
				if (old.id === "new") {
					const end = document.getElementById("end");
					if (end) end.remove();
				}
				log.querySelectorAll(".more.newer").forEach((a) => a.remove());
				old.remove();
				const link = more("newer", "after=" + ends(pages[pages.length - 1])[1], "Newer messages");
				log.append(link);
				htmx.process(link);
			}
		}
	}

	let end = true, height = 0, top = 0;
	document.addEventListener("htmx:before:swap", () => {
		end = atEnd();
		height = log.scrollHeight;
		top = log.scrollTop;
	});
	document.addEventListener("htmx:after:swap", (e) => {
		const source = e.detail.ctx && e.detail.ctx.sourceElement;
		const older = e.detail.ctx && /part=older/.test(e.detail.ctx.request.action);
		const newer = e.detail.ctx && /part=newer/.test(e.detail.ctx.request.action);
		if (older) {
			log.scrollTop = top + (log.scrollHeight - height);
			trim(false);
		} else if (newer) {
			trim(true);
		} else if (source && source.id === "live") {
			const fresh = document.getElementById("new");
			if (fresh && fresh.childElementCount > 50) { // a page of its own, so that it can be removed
				const next = fresh.cloneNode(false);
				fresh.removeAttribute("id");
				fresh.after(next);
			}
			if (end && isLive()) {
				trim(true);
				log.scrollTop = log.scrollHeight;
			}
		} else if (source && source.id === "composer" && isLive()) {
			log.scrollTop = log.scrollHeight;
		}
		read();
	});
	// Pictures that arrive late move what is below them.
	log.addEventListener("load", () => { if (end && isLive()) log.scrollTop = log.scrollHeight; }, true);

	// What was read is told when the end of the conversation is in view.
	let told = 0, timer = 0;
	function read() {
		if (document.hidden || !isLive() || !atEnd()) return;
		const all = log.querySelectorAll(".msg");
		const order = all.length ? Number(all[all.length - 1].dataset.order) : 0;
		const newest = Math.max(order, Number((document.getElementById("new") || { dataset: {} }).dataset.first) || 0);
		if (newest <= told) return;
		clearTimeout(timer);
		timer = setTimeout(() => {
			told = newest;
			fetch(log.dataset.read, {
				method: "POST", headers: { "HX-Request": "true" },
				body: new URLSearchParams({ csrf, order: String(newest) }),
			}).catch(() => { told = 0; });
		}, 300);
	}
	log.addEventListener("scroll", () => { end = atEnd(); read(); }, { passive: true });
	document.addEventListener("visibilitychange", read);
	read();
})();
