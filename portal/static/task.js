// The live log of one task: the newest lines first, then each line as it comes, by one stream that resumes by itself.

import {appendText} from "./ansi.js";

const log = document.getElementById("log");
const task = log.dataset.task;
const follow = document.getElementById("follow");
const earlier = document.getElementById("earlier");
const live = document.getElementById("live");
const said = document.getElementById("said");
const BLOCK = 200;
const FIRST = 500;
let first = Number(log.dataset.lines);
let last = first - 1;
let following = true;
let unseen = 0;
let parted = null;

function lineOf(line) {
  const row = document.createElement("div");
  row.className = `line level-${line.level}`;
  row.id = `L${line.seq}`;
  const number = document.createElement("a");
  number.className = "no";
  number.href = `#L${line.seq}`;
  number.textContent = line.seq;
  const at = document.createElement("span");
  at.className = "at";
  at.title = line.at;
  at.textContent = line.target || line.step || "";
  const text = document.createElement("span");
  text.className = "text";
  appendText(text, line.text);
  row.append(number, at, text);
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
  last = fresh[fresh.length - 1].seq;
  document.getElementById("no-lines")?.remove();
  const block = log.lastElementChild;
  const room = block && block.className === "block" ? BLOCK - block.childElementCount : 0;
  if (room > 0) block.append(...fresh.splice(0, room).map(lineOf));
  while (fresh.length) log.append(blockOf(fresh.splice(0, BLOCK)));
  if (following) log.scrollTop = log.scrollHeight;
  else { unseen += lines.length; showFollow(); }
}

function showFollow() {
  follow.textContent = following ? "Following" : unseen ? `Paused, ${unseen} new lines` : "Paused";
  follow.setAttribute("aria-pressed", String(following));
}

function setFollowing(on) {
  following = on;
  unseen = on ? 0 : unseen;
  showFollow();
  if (on) log.scrollTop = log.scrollHeight;
}

async function read(after, limit) {
  const answer = await fetch(`/api/v1/tasks/${task}/log?after=${after}&limit=${limit}`, {credentials: "same-origin"});
  if (!answer.ok) throw new Error(`the hub answered ${answer.status}`);
  return (await answer.json()).items;
}

async function showEarlier() {
  const from = Math.max(0, first - FIRST);
  const lines = (await read(from - 1, first - from)).filter((line) => line.seq < first);
  const height = log.scrollHeight;
  for (let end = lines.length; end > 0; end -= BLOCK) log.prepend(blockOf(lines.slice(Math.max(0, end - BLOCK), end)));
  first = from;
  earlier.hidden = first <= 0;
  log.scrollTop += log.scrollHeight - height;
}

async function start() {
  const linked = /^#L(\d+)$/.exec(location.hash);
  const from = linked ? Math.max(0, Number(linked[1]) - FIRST / 2) : Math.max(0, first - FIRST);
  first = from;
  last = from - 1;
  let lines = await read(last, 1000);
  while (lines.length) {
    append(lines);
    lines = lines.length < 1000 ? [] : await read(last, 1000);
  }
  earlier.hidden = first <= 0;
  if (linked) {
    setFollowing(false);
    document.getElementById(`L${linked[1]}`)?.scrollIntoView({block: "center"});
  }
  if (log.dataset.ended !== "yes") listen();
  else live.textContent = "ended";
}

// Lines wait for the next frame, so that a flood is drawn sixty times a second and not a hundred thousand times.
let waiting = [];
function later(line) {
  waiting.push(line);
  if (waiting.length === 1) requestAnimationFrame(() => { append(waiting); waiting = []; });
}

function listen() {
  const stream = new EventSource(`/api/v1/tasks/${task}/stream?after=${last}`);
  stream.addEventListener("open", () => { parted = null; say("live", "on"); });
  stream.addEventListener("log", (event) => later(JSON.parse(event.data)));
  stream.addEventListener("state", () => refreshHead());
  stream.addEventListener("end", () => { stream.close(); say("ended", "off"); refreshHead(); });
  stream.addEventListener("error", () => {
    parted ??= Date.now();
    say("connection lost, trying again", "lost");
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
  });
}

function say(words, state) {
  live.textContent = words;
  live.dataset.live = state;
}

async function refreshHead() {
  const answer = await fetch(location.pathname, {credentials: "same-origin"});
  if (!answer.ok || answer.redirected) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const id of ["task-head", "task-steps", "task-actions"]) {
    const next = fresh.getElementById(id);
    if (next) document.getElementById(id)?.replaceWith(next);
  }
  const state = document.querySelector("#task-head .state")?.textContent;
  if (state && said.textContent !== state) said.textContent = state;
  document.title = fresh.title;
}

log.addEventListener("scroll", () => {
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  if (atEnd !== following) { following = atEnd; unseen = atEnd ? 0 : unseen; showFollow(); }
}, {passive: true});
follow.addEventListener("click", () => setFollowing(!following));
earlier.addEventListener("click", () => showEarlier().catch((error) => say(error.message, "lost")));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /INPUT|TEXTAREA|SELECT/.test(event.target.tagName)) return;
  if (event.key === "f") setFollowing(!following);
});
start().catch((error) => say(error.message, "lost"));
