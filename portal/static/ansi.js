// Turns a line of terminal text into spans of a fixed set of classes; everything that is no colour is dropped.

const COLOUR = /\u001b\[([0-9;:]{0,40})m/g;
// Any other escape sequence: CSI, OSC and its like up to their end, or two characters.
const OTHER = /\u001b(?:\[[0-?]*[ -/]*[@-~]?|[\]PX^_][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-Z\\]?)/g;
// Controls but tab, and the marks that turn the order of text around or take no room.
const HIDDEN = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
const FLAGS = {1: "b", 2: "d", 3: "i", 4: "u", 7: "v"};
const MOST_SPANS = 500;
const MOST_CHARACTERS = 20_000;

/** Append the line's text to the element, as text nodes and spans. */
export function appendText(element, line) {
  const {text, earlier} = lastState(line);
  if (earlier) mark(element, `⟲${earlier} `, "This line was written over; the plain text has all of it.");
  let style = {};
  let from = 0;
  let spans = 0;
  let room = MOST_CHARACTERS;
  for (const match of text.matchAll(COLOUR)) {
    if ((spans += 1) > MOST_SPANS || room <= 0) break;
    room -= put(element, plain(text.slice(from, match.index)), style, room);
    from = match.index + match[0].length;
    style = changed(style, match[1]);
  }
  const rest = plain(text.slice(from).replace(COLOUR, ""));
  const left = rest.length - put(element, rest, style, room);
  if (left) mark(element, ` … ${left.toLocaleString("en")} more characters`, "The plain text has all of it.");
}

/** What a terminal would show of a line that was written over with carriage returns, and how often it was. */
function lastState(line) {
  const parts = line.replace(/\r+$/, "").split("\r");
  return {text: parts[parts.length - 1], earlier: parts.length - 1};
}

function mark(element, words, title) {
  const span = document.createElement("span");
  span.className = "aside";
  span.textContent = words;
  span.title = title;
  element.append(span);
}

function plain(raw) {
  return raw.replace(OTHER, "").replace(HIDDEN, "\ufffd");
}

/** Show the text as far as there is room; gives how much of it was shown. */
function put(element, whole, style, room) {
  const text = whole.slice(0, Math.max(0, room));
  const classes = Object.values(style).filter(Boolean).join(" ");
  if (text && classes) {
    const span = document.createElement("span");
    span.className = classes;
    span.textContent = text;
    element.append(span);
  } else if (text) element.append(text);
  return text.length;
}

function changed(style, codes) {
  let next = {...style};
  const numbers = codes === "" ? [0] : codes.split(/[;:]/).map(Number);
  for (let i = 0; i < numbers.length; i += 1) {
    const code = numbers[i];
    if (code === 0) next = {};
    else if (FLAGS[code]) next[code] = FLAGS[code];
    else if (code === 22) { delete next[1]; delete next[2]; }
    else if (FLAGS[code - 20]) delete next[code - 20];
    else if (code === 39) delete next.colour;
    else if (code >= 30 && code <= 37) next.colour = `f${code - 30}`;
    else if (code >= 90 && code <= 97) next.colour = `f${code - 82}`;
    else if (code === 38 || code === 48) {
      if (code === 38 && numbers[i + 1] === 5 && numbers[i + 2] < 16) next.colour = `f${numbers[i + 2]}`;
      i += numbers[i + 1] === 5 ? 2 : 4;
    }
  }
  return next;
}
