// The live log of one task: the newest lines first, then each line as it comes, by one stream that resumes by itself.

import {appendText} from "./ansi.js";

const log = document.getElementById("log");
const task = log.dataset.task;
const follow = document.getElementById("follow");
const earlier = document.getElementById("earlier");
const levels = document.getElementById("levels");
const live = document.getElementById("live");
const said = document.getElementById("said");
const BLOCK = 200;
const FIRST = 500;
const SEEN_PAUSE_MS = 3_000;
const HIDDEN_PAUSE_MS = 15_000;
// Lines are numbered from 1: `first` is the first one on the page, `last` the newest.
let first = 1;
let last = 0;
let following = true;
let unseen = 0;
let stream = null;
let seen = {top: 0, height: 0};

function lineOf(line) {
  const row = document.createElement("div");
  row.className = `line level-${/^[a-z]+$/.test(line.level) ? line.level : "info"}`;
  row.id = `L${line.seq}`;
  const number = document.createElement("a");
  number.className = "no";
  number.href = `#L${line.seq}`;
  number.textContent = line.seq;
  number.tabIndex = -1;
  const from = document.createElement("span");
  from.className = "from";
  from.title = `${line.at} ${line.step}`;
  from.textContent = line.target || line.step || "";
  const text = document.createElement("span");
  text.className = "text";
  appendText(text, line.text);
  row.append(number, from, text);
  return row;
}

function blockOf(lines) {
  const block = document.createElement("div");
  block.className = "block";
  block.append(...lines.map(lineOf));
  return block;
}

function append(lines) {
  const fresh = lines.filter((line) => line.seq > last);
  if (!fresh.length) return;
  const count = fresh.length;
  last = fresh[count - 1].seq;
  document.getElementById("no-lines")?.remove();
  const block = log.lastElementChild;
  const room = block && block.className === "block" ? BLOCK - block.childElementCount : 0;
  if (room > 0) block.append(...fresh.splice(0, room).map(lineOf));
  while (fresh.length) log.append(blockOf(fresh.splice(0, BLOCK)));
  if (following) toEnd();
  else { unseen += count; showFollow(); }
}

function toEnd() {
  log.scrollTop = log.scrollHeight;
  seen = {top: log.scrollTop, height: log.scrollHeight};
}

function showFollow() {
  const lines = unseen === 1 ? "1 new line" : `${unseen} new lines`;
  follow.textContent = following ? "Following" : unseen ? `Paused, ${lines}` : "Paused";
  follow.setAttribute("aria-pressed", String(following));
}

function setFollowing(on) {
  following = on;
  unseen = on ? 0 : unseen;
  showFollow();
  if (on) toEnd();
}

async function read(after, limit) {
  const answer = await fetch(`/api/v1/tasks/${task}/log?after=${after}&limit=${limit}`, {credentials: "same-origin"});
  if (!answer.ok) throw new Error(`the hub answered ${answer.status}`);
  return (await answer.json()).items;
}

async function showEarlier() {
  const from = Math.max(1, first - FIRST);
  const lines = (await read(from - 1, first - from)).filter((line) => line.seq < first);
  const height = log.scrollHeight;
  for (let end = lines.length; end > 0; end -= BLOCK) log.prepend(blockOf(lines.slice(Math.max(0, end - BLOCK), end)));
  first = from;
  earlier.hidden = first <= 1;
  log.scrollTop += log.scrollHeight - height;
}

async function start() {
  const linked = /^#L(\d{1,12})$/.exec(location.hash);
  const newest = Number(log.dataset.lines);
  first = Math.max(1, linked ? Number(linked[1]) - FIRST / 2 : newest - FIRST + 1);
  last = first - 1;
  let lines = await read(last, 1000);
  while (lines.length) {
    append(lines);
    lines = lines.length < 1000 ? [] : await read(last, 1000);
  }
  earlier.hidden = first <= 1;
  if (linked) {
    setFollowing(false);
    document.getElementById(`L${linked[1]}`)?.scrollIntoView({block: "center"});
  }
  if (hasEnded()) say("ended", "off");
  else listen();
}

// Lines wait for the next frame, so that a flood is drawn sixty times a second and not a hundred thousand times.
let waiting = [];
function later(line) {
  waiting.push(line);
  if (waiting.length === 1) requestAnimationFrame(() => { append(waiting); waiting = []; });
}

function listen() {
  stream?.close();
  stream = new EventSource(`/api/v1/tasks/${task}/stream?after=${last}`);
  stream.addEventListener("open", () => say("live", "on"));
  stream.addEventListener("log", (event) => later(JSON.parse(event.data)));
  stream.addEventListener("state", () => refreshHead().catch(() => {}));
  stream.addEventListener("end", () => { stream.close(); refreshHead().catch(() => {}); say("ended", "off"); });
  stream.addEventListener("error", () => {
    say("connection lost, trying again", "lost");
    // The browser comes back by itself, but not after a refusal; then ask what has become of the task.
    if (stream.readyState === EventSource.CLOSED) setTimeout(comeBack, 2000);
  });
}

async function comeBack() {
  if (document.hidden) return;
  const signedIn = await refreshHead().catch(() => true);
  if (!signedIn) say("you are signed out: load the page again", "lost");
  else if (hasEnded()) append(await read(last, 1000)), say("ended", "off");
  else listen();
}

// A browser has six connections to a host: a tab that nobody sees gives its stream back.
document.addEventListener("visibilitychange", () => {
  if (hasEnded()) return;
  if (document.hidden) stream?.close();
  else comeBack().catch(() => {});
});
// The stream tells of the task; what its targets are at, and how long it takes, is looked up.
let looked = Date.now();
setInterval(() => {
  if (hasEnded() || (document.hidden && Date.now() - looked < HIDDEN_PAUSE_MS)) return;
  looked = Date.now();
  refreshHead().catch(() => {});
}, SEEN_PAUSE_MS);

function say(words, state) {
  live.hidden = false;
  live.textContent = words;
  live.dataset.live = state;
}

function hasEnded() {
  return document.getElementById("task-head").dataset.ended === "yes";
}

/** Fetch the page again for all but the log; false where nobody is signed in any more. */
async function refreshHead() {
  const answer = await fetch(location.pathname, {credentials: "same-origin"});
  if (answer.redirected) return false;
  if (!answer.ok) return true;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const ended = fresh.getElementById("task-head")?.dataset.ended === "yes";
  for (const id of ["task-state", "task-head", "task-steps", "task-waits", "task-actions", "log-check", "log-digests"]) {
    const old = document.getElementById(id);
    const next = fresh.getElementById(id);
    // A button that somebody is about to press stays, unless there is nothing left to press it for.
    if (next && old && (ended || !old.contains(document.activeElement))) old.replaceWith(next);
  }
  const state = document.querySelector("#task-state")?.textContent.trim();
  if (state && said.textContent !== state) said.textContent = state;
  document.title = fresh.title;
  return true;
}

log.addEventListener("scroll", () => {
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  // Only a person scrolls up; the page itself moves when lines are drawn that were only guessed before.
  const wentUp = log.scrollTop < seen.top && log.scrollHeight >= seen.height;
  seen = {top: log.scrollTop, height: log.scrollHeight};
  if (atEnd) { if (!following) setFollowing(true); }
  else if (following && wentUp) setFollowing(false);
  else if (following) toEnd();
}, {passive: true});
follow.addEventListener("click", () => setFollowing(!following));
earlier.addEventListener("click", () => showEarlier().catch((error) => say(error.message, "lost")));
levels.addEventListener("click", () => {
  const on = log.classList.toggle("only-troubles");
  levels.setAttribute("aria-pressed", String(on));
  if (following) toEnd();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /INPUT|TEXTAREA|SELECT/.test(event.target.tagName)) return;
  if (event.key === "f") setFollowing(!following);
});
document.getElementById("log-tools").hidden = false;
start().catch((error) => say(error.message, "lost"));
