// Keeps the marked parts of a page fresh: fetches the page again and puts the parts in place, while the tab is seen.

const PAUSE_MS = 3000;
const parts = () => document.querySelectorAll("[data-live-part]");

async function refresh() {
  if (document.hidden || parts().length === 0) return;
  const answer = await fetch(location.href, {headers: {Accept: "text/html"}, credentials: "same-origin"});
  if (!answer.ok || answer.redirected) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const old of parts()) {
    const next = fresh.getElementById(old.id);
    // A part in which somebody is typing or choosing is left alone.
    if (next && !old.contains(document.activeElement) && old.innerHTML !== next.innerHTML) old.replaceWith(next);
  }
}

if (parts().length) {
  setInterval(() => refresh().catch(() => {}), PAUSE_MS);
  document.addEventListener("visibilitychange", () => refresh().catch(() => {}));
}

// What hurts is asked once more, in words that name it.
document.addEventListener("submit", (event) => {
  const words = event.target.dataset.confirm;
  if (words && !window.confirm(words)) event.preventDefault();
});

// A button is pressed once; a second press while the first is on its way does nothing.
document.addEventListener("submit", (event) => {
  if (event.defaultPrevented) return;
  const button = event.submitter;
  if (button) setTimeout(() => { button.disabled = true; }, 0);
});
window.addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("form button:disabled:not([data-off])")) button.disabled = false;
});

// `/` goes to the page's filter, where there is one.
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || /INPUT|TEXTAREA|SELECT/.test(event.target.tagName)) return;
  const filter = document.querySelector("[data-filter]");
  if (filter) { event.preventDefault(); filter.focus(); }
});
