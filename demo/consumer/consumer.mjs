// A program that misses nothing: it hears events over AMQP, checks them against the hub's published schemas, keeps each
// once, and asks for those again that it did not hear. It knows nothing of the hub but its documents.
//
//     MANYARM_URL=http://127.0.0.1:8080 MANYARM_API_KEY=mak_… MANYARM_CONSUMER=user:password:queue node consumer.mjs kept.jsonl
//
// Optional: MANYARM_BROKER=amqps://host:port (instead of the address in the hub's document), MANYARM_BROKER_CA=ca.pem.
// SIGTERM: it hears out what the hub has published, proves that it has every number, prints a report, exits 0 (1: not so).

import fs from "node:fs";
import process from "node:process";
import { setTimeout as pause } from "node:timers/promises";
import { Link } from "./amqp.mjs";
import { faults } from "./schema.mjs";

const { MANYARM_URL, MANYARM_API_KEY, MANYARM_CONSUMER, MANYARM_BROKER, MANYARM_BROKER_CA } = process.env;
const [user, password, queue] = MANYARM_CONSUMER.split(":");
const ca = MANYARM_BROKER_CA ? fs.readFileSync(MANYARM_BROKER_CA) : undefined;
const PREFETCH = 50;

const file = process.argv[2];
const newest = new Map(); // The number of the last event of each source; all before it are kept.
const report = { kept: 0, duplicates: 0, replayed: 0, connections: 0, sources: {} };
const schemas = new Map();
let link = null;
let leaving = false;
let work = Promise.resolve();

function say(words) {
  process.stderr.write(`${new Date().toISOString()} ${words}\n`);
}

// The hub, by what it has published

async function hub(path) {
  for (let wait = 0.2; ; wait = Math.min(wait * 2, 5)) {
    try {
      const answer = await fetch(new URL(path, MANYARM_URL), { headers: { authorization: `Bearer ${MANYARM_API_KEY}` } });
      if (answer.ok) return await answer.json();
      if (answer.status < 500 && answer.status !== 429) throw new TypeError(`${path}: ${answer.status} ${await answer.text()}`);
    } catch (error) {
      if (error instanceof TypeError && error.cause === undefined) throw error;
      say(`the hub does not answer: ${error.cause?.code ?? error.message}`);
    }
    await pause(wait * 1000);
  }
}

async function describe() {
  const document = await hub("/api/v1/integration/asyncapi.json");
  for (const message of Object.values(document.components.messages)) schemas.set(message.name, message.payload.$ref);
  return document.servers?.broker;
}

async function schemaOf(type) {
  const known = schemas.get(type);
  if (known === undefined) return null; // A type that came later than we did: kept, not understood.
  if (typeof known === "string") schemas.set(type, await hub(known));
  return schemas.get(type);
}

// Events

function remember() {
  if (!fs.existsSync(file)) return;
  // A line that was cut off by our own death was not acknowledged: it comes again.
  const whole = fs.readFileSync(file, "utf8").split("\n").slice(0, -1);
  fs.writeFileSync(file, whole.map((line) => `${line}\n`).join(""));
  for (const line of whole) {
    const { source, sequence } = JSON.parse(line);
    newest.set(source, Number(sequence));
  }
}

async function keep(event) {
  const schema = await schemaOf(event.type);
  const wrong = schema ? faults(schema, event) : [];
  if (wrong.length) throw new Error(`an event is not as its schema says: ${wrong.join("; ")}`);
  // On the disk before it is acknowledged: then it is ours.
  const place = fs.openSync(file, "a");
  fs.writeSync(place, `${JSON.stringify(event)}\n`);
  fs.fsyncSync(place);
  fs.closeSync(place);
  newest.set(event.source, Number(event.sequence));
  report.kept += 1;
}

async function take(event) {
  const [last, number] = [newest.get(event.source) ?? 0, Number(event.sequence)];
  if (number <= last) {
    report.duplicates += 1;
    return;
  }
  if (number > last + 1) await replay(event.source, last, number - 1);
  await keep(event);
}

// What we did not hear: lost by a queue that ran over, published before we came, overtaken.
async function replay(source, after, until) {
  while (after < until) {
    const page = await hub(`/api/v1/integration/events?source=${encodeURIComponent(source)}&after=${after}&limit=500`);
    if (page.items.length === 0) throw new Error(`the hub has nothing after ${after} of ${source}`);
    for (const event of page.items) {
      if (Number(event.sequence) > until) return;
      await keep(event);
      report.replayed += 1;
      after = Number(event.sequence);
    }
  }
}

// The broker

async function listen(url) {
  for (let wait = 0.2; !leaving; wait = Math.min(wait * 2, 5)) {
    try {
      link = await Link.open(url, ca);
      report.connections += 1;
      wait = 0.2;
      say("listening");
      const own = link;
      await own.consume(queue, PREFETCH, (message) => {
        if (leaving) return;
        // One after another: what is acknowledged has been kept.
        work = work.then(() => take(JSON.parse(message.body))).then(() => own.ack(message.tag)).catch(fail);
      });
      say(`the connection ended: ${(await own.ended).message}`);
    } catch (error) {
      say(`no connection: ${error.message}`);
    }
    await pause(wait * 1000 * (0.5 + Math.random()));
  }
}

function fail(error) {
  say(`cannot go on: ${error.stack}`);
  process.exit(1);
}

async function leave() {
  if (leaving) return;
  leaving = true;
  const { items } = await hub("/api/v1/integration/sources?limit=1000");
  await work;
  link?.close();
  for (const { source, newest: last } of items) {
    const known = newest.get(source) ?? 0;
    if (known < last) await replay(source, known, last);
  }
  process.exit(prove(items) ? 0 : 1);
}

// From the file alone: every number of every source, once, in order.
function prove(items) {
  const seen = new Map();
  for (const line of fs.existsSync(file) ? fs.readFileSync(file, "utf8").trim().split("\n") : []) {
    const { source, sequence } = JSON.parse(line);
    seen.set(source, [...(seen.get(source) ?? []), Number(sequence)]);
  }
  let missed = 0;
  for (const { source, newest: last } of items) {
    const numbers = seen.get(source) ?? [];
    const whole = numbers.every((number, index) => number === index + 1) && numbers.length >= last;
    report.sources[source] = { events: numbers.length, whole };
    missed += whole ? 0 : Math.max(last - new Set(numbers).size, 1);
  }
  process.stdout.write(`${JSON.stringify({ ...report, missed })}\n`);
  return missed === 0;
}

remember();
process.on("SIGTERM", () => leave().catch(fail));
describe().then((server) => {
  const url = new URL(MANYARM_BROKER ?? `${server.protocol}://${server.host}`);
  Object.assign(url, { username: user, password, pathname: "/manyarm-integration" });
  return listen(url);
}).catch(fail);
