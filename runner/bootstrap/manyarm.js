// What a JavaScript script of a job may ask of its supervisor; found by `require("manyarm")`. Everything waits for its
// answer: scripts are read from top to bottom. Written for Node 12 on.
"use strict";

const fs = require("fs");
const path = require("path");

const TURN_PATIENCE_MS = 10000;
const NAP_MS = 2;

/** The supervisor refused what the script asked for. */
class ManyarmError extends Error {
  constructor(message) {
    super(message);
    this.name = "ManyarmError";
  }
}

/** The value of a variable, expanded; throws ManyarmError where there is none. */
function getVariable(name) {
  return ask({ do: "get_variable", name: String(name) });
}

/** An output variable for later steps: `#{Manyarm.Step[this step].Output.NAME}`. */
function setVariable(name, value, { secret = false } = {}) {
  ask({ do: "set_variable", name: String(name), value: String(value), secret: Boolean(secret) });
}

/** A file to be collected when this script has ended. */
function newArtifact(file, name = "") {
  ask({ do: "new_artifact", path: path.resolve(String(file)), name: String(name) });
}

function progress(percent, message = "") {
  ask({ do: "progress", percent: Math.trunc(Number(percent)), message: String(message) });
}

function warn(message) {
  ask({ do: "warn", message: String(message) });
}

/** End the script; the step fails with this message. */
function fail(message) {
  ask({ do: "fail", message: String(message) });
  process.exit(1);
}

function ask(question) {
  if (!process.env.MANYARM_FD) {
    throw new ManyarmError("this script is not run by Manyarm: MANYARM_FD is not set");
  }
  const body = Buffer.from(JSON.stringify(question), "utf8");
  const size = Buffer.alloc(4);
  size.writeUInt32BE(body.length, 0);
  const answer = exchange(Number(process.env.MANYARM_FD), Buffer.concat([size, body]));
  if (!("ok" in answer)) {
    throw new ManyarmError(answer.error || "refused");
  }
  return answer.ok;
}

// One question at a time, whichever process asks: a byte in the pipe is the right to ask.
function exchange(descriptor, message) {
  const [take, give] = process.env.MANYARM_LOCK.split(" ").map(Number);
  waitForTurn(take);
  try {
    let sent = 0;
    while (sent < message.length) {
      sent += patiently(() => fs.writeSync(descriptor, message, sent));
    }
    const size = read(descriptor, 4).readUInt32BE(0);
    return JSON.parse(read(descriptor, size).toString("utf8"));
  } finally {
    fs.writeSync(give, ".");
  }
}

// Opened anew, the pipe can be looked into without waiting for ever: who held the turn may have been killed.
function waitForTurn(take) {
  const look = fs.openSync(`/proc/self/fd/${take}`, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  try {
    patiently(() => fs.readSync(look, Buffer.alloc(1), 0, 1, null), TURN_PATIENCE_MS);
  } finally {
    fs.closeSync(look);
  }
}

function read(descriptor, size) {
  const data = Buffer.alloc(size);
  let filled = 0;
  while (filled < size) {
    const count = patiently(() => fs.readSync(descriptor, data, filled, size - filled, null));
    if (count === 0) {
      throw new ManyarmError("the supervisor is gone");
    }
    filled += count;
  }
  return data;
}

// Again and again while there is nothing; 0 when that took too long.
function patiently(act, forMs = Infinity) {
  const until = Date.now() + forMs;
  for (;;) {
    try {
      return act();
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
      if (Date.now() >= until) return 0;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, NAP_MS);
    }
  }
}

module.exports = { ManyarmError, getVariable, setVariable, newArtifact, progress, warn, fail };
