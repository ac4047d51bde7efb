// Sends a package as it lies on disk, with a bar that moves; without this file the form sends it as forms do.

const form = document.getElementById("upload");
const bar = form.querySelector("progress");
const words = form.querySelector("[data-words]");
const file = form.querySelector("input[type=file]");
const button = form.querySelector("button");

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!file.files.length) return;
  send(file.files[0]);
});

function send(chosen) {
  const call = new XMLHttpRequest();
  call.open("POST", `/api/v1/packages?name=${encodeURIComponent(chosen.name)}`);
  call.setRequestHeader("Content-Type", "application/octet-stream");
  call.setRequestHeader("X-CSRF-Token", form.elements.csrf_token.value);
  call.upload.addEventListener("progress", (event) => {
    bar.value = event.loaded / event.total;
    say(event.loaded < event.total ? `${Math.round(bar.value * 100)} % sent` : "Sent; the hub is looking through it.");
  });
  call.addEventListener("load", () => finish(call));
  call.addEventListener("error", () => failed("The connection broke; nothing was kept."));
  bar.hidden = false;
  bar.value = 0;
  setTimeout(() => { button.disabled = true; }, 0);
  call.send(chosen);
}

function finish(call) {
  let answer = {};
  try { answer = JSON.parse(call.responseText); } catch { /* The status says enough. */ }
  if (call.status === 201 || call.status === 200) {
    location.assign(`/packages?id=${encodeURIComponent(answer.id)}`);
  } else failed(answer.detail || `The hub answered ${call.status}.`);
}

function failed(sentence) {
  say(sentence);
  bar.hidden = true;
  button.disabled = false;
}

function say(sentence) {
  words.textContent = sentence;
}
