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
  const shown = lastState(line);
  const text = shown.text.slice(0, MOST_CHARACTERS);
  if (shown.earlier) mark(element, `⟲${shown.earlier} `, "This line was written over; the plain text has all of it.");
  let style = {};
  let from = 0;
  let spans = 0;
  for (const match of text.matchAll(COLOUR)) {
    if ((spans += 1) > MOST_SPANS) break;
    put(element, text.slice(from, match.index), style);
    from = match.index + match[0].length;
    style = changed(style, match[1]);
  }
  put(element, text.slice(from).replace(COLOUR, ""), style);
  const cut = shown.text.length - text.length;
  if (cut) mark(element, ` … ${cut.toLocaleString("en")} more characters`, "The plain text has all of it.");
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

function put(element, raw, style) {
  const text = raw.replace(OTHER, "").replace(HIDDEN, "\ufffd");
  if (!text) return;
  const classes = Object.values(style).filter(Boolean).join(" ");
  if (!classes) {
    element.append(text);
    return;
  }
  const span = document.createElement("span");
  span.className = classes;
  span.textContent = text;
  element.append(span);
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
