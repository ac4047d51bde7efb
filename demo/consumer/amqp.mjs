// As much of AMQP 0-9-1 as a consumer needs: one connection, one channel, take and acknowledge, publish with confirms.
//
//     const link = await Link.open(new URL("amqp://user:password@host:5672/vhost"))
//     await link.consume("queue", 50, (message) => …)     // { body, key, tag, redelivered }
//     link.ack(tag);  await link.publish(exchange, key, body, properties);  await link.ended
//
// It mends nothing: whoever uses it waits for `ended` and opens another one.

import net from "node:net";
import tls from "node:tls";

const METHOD = 1, HEADER = 2, BODY = 3, HEARTBEAT = 8, END = 0xce;
const HEARTBEAT_S = 10;
const name = (cls, method) => cls * 1000 + method;

class Writer {
  parts = [];
  octet(value) { return this.raw(Buffer.from([value])); }
  short(value) { const b = Buffer.alloc(2); b.writeUInt16BE(value); return this.raw(b); }
  long(value) { const b = Buffer.alloc(4); b.writeUInt32BE(value); return this.raw(b); }
  longlong(value) { const b = Buffer.alloc(8); b.writeBigUInt64BE(BigInt(value)); return this.raw(b); }
  shortText(text) { const b = Buffer.from(text); return this.octet(b.length).raw(b); }
  longText(text) { const b = Buffer.from(text); return this.long(b.length).raw(b); }
  raw(buffer) { this.parts.push(buffer); return this; }
  table(fields) {
    const inner = new Writer();
    for (const [key, value] of Object.entries(fields)) inner.shortText(key).raw(Buffer.from("S")).longText(value);
    const content = inner.bytes();
    return this.long(content.length).raw(content);
  }
  bytes() { return Buffer.concat(this.parts); }
}

class Reader {
  at = 0;
  constructor(buffer) { this.buffer = buffer; }
  octet() { return this.buffer[this.at++]; }
  short() { this.at += 2; return this.buffer.readUInt16BE(this.at - 2); }
  long() { this.at += 4; return this.buffer.readUInt32BE(this.at - 4); }
  longlong() { this.at += 8; return this.buffer.readBigUInt64BE(this.at - 8); }
  shortText() { const size = this.octet(); this.at += size; return this.buffer.toString("utf8", this.at - size, this.at); }
}

export class Link {
  static async open(url, ca) {
    const link = new Link(url, ca);
    await link.#greet();
    return link;
  }

  constructor(url, ca) {
    const port = Number(url.port || (url.protocol === "amqps:" ? 5671 : 5672));
    const where = { host: url.hostname.replace(/^\[|\]$/g, ""), port };
    this.url = url;
    this.socket = url.protocol === "amqps:" ? tls.connect({ ...where, ca }) : net.connect(where);
    this.pending = Buffer.alloc(0);
    this.waiting = [];
    this.confirms = new Map();
    this.published = 0;
    this.failure = null;
    this.ended = new Promise((resolve) => { this.#onEnd = resolve; });
    this.socket.on("data", (data) => this.#received(data));
    this.socket.on("error", (error) => this.#end(error));
    this.socket.on("close", () => this.#end(new Error("the broker closed the connection")));
  }

  #onEnd;

  async consume(queue, prefetch, onMessage) {
    this.onMessage = onMessage;
    await this.#call(60, 10, new Writer().long(0).short(prefetch).octet(0), 60, 11);
    await this.#call(60, 20, new Writer().short(0).shortText(queue).shortText("").octet(0).table({}), 60, 21);
  }

  ack(tag) { this.#method(1, 60, 80, new Writer().longlong(tag).octet(0)); }

  // Done when the broker has it.
  async publish(exchange, key, body, { contentType, correlationId, replyTo, headers = {}, userId }) {
    if (!this.published) await this.#call(85, 10, new Writer().octet(0), 85, 11);
    const tag = BigInt(++this.published);
    const content = Buffer.from(body);
    const confirmed = new Promise((resolve, reject) => this.confirms.set(tag, { resolve, reject }));
    this.#method(1, 60, 40, new Writer().short(0).shortText(exchange).shortText(key).octet(0));
    // Content type, headers, delivery mode, correlation id, reply-to, user id.
    const flags = 0x8000 | 0x2000 | 0x1000 | 0x0400 | 0x0200 | 0x0010;
    const head = new Writer().short(60).short(0).longlong(content.length).short(flags).shortText(contentType);
    head.table(headers).octet(2).shortText(correlationId).shortText(replyTo).shortText(userId);
    this.#frame(HEADER, 1, head.bytes());
    this.#frame(BODY, 1, content);
    await confirmed;
  }

  close() { this.socket.destroy(); }

  async #greet() {
    const start = this.#expect(10, 10);
    this.socket.once(this.url.protocol === "amqps:" ? "secureConnect" : "connect", () => this.socket.write("AMQP\0\0\x09\x01", "latin1"));
    await start;
    const [user, password] = [this.url.username, this.url.password].map(decodeURIComponent);
    const answer = new Writer().table({ product: "manyarm example consumer" });
    answer.shortText("PLAIN").longText(`\0${user}\0${password}`).shortText("en_US");
    this.#method(0, 10, 11, answer);
    const tune = await this.#expect(10, 30);
    const [channels, frame] = [tune.short(), tune.long()];
    this.#method(0, 10, 31, new Writer().short(channels).long(frame).short(HEARTBEAT_S));
    const opened = this.#expect(10, 41);
    this.#method(0, 10, 40, new Writer().shortText(decodeURIComponent(this.url.pathname.slice(1))).shortText("").octet(0));
    await opened;
    // A peer that says nothing for two heartbeats is gone.
    this.socket.setTimeout(2 * HEARTBEAT_S * 1000, () => this.#end(new Error("the broker is silent")));
    this.beat = setInterval(() => this.#frame(HEARTBEAT, 0, Buffer.alloc(0)), (HEARTBEAT_S * 1000) / 2);
    await this.#call(20, 10, new Writer().shortText(""), 20, 11);
  }

  #call(cls, method, writer, answerClass, answerMethod) {
    const answer = this.#expect(answerClass, answerMethod);
    this.#method(1, cls, method, writer);
    return answer;
  }

  #expect(cls, method) {
    return new Promise((resolve, reject) => {
      if (this.failure) reject(this.failure);
      else this.waiting.push({ wanted: name(cls, method), resolve, reject });
    });
  }

  #method(channel, cls, method, writer) {
    this.#frame(METHOD, channel, new Writer().short(cls).short(method).raw(writer.bytes()).bytes());
  }

  #frame(type, channel, payload) {
    if (this.socket.destroyed) return;
    this.socket.write(new Writer().octet(type).short(channel).long(payload.length).raw(payload).octet(END).bytes());
  }

  #received(data) {
    this.pending = Buffer.concat([this.pending, data]);
    while (this.pending.length >= 8) {
      const size = this.pending.readUInt32BE(3);
      if (this.pending.length < size + 8) return;
      const [type, payload] = [this.pending[0], this.pending.subarray(7, 7 + size)];
      this.pending = this.pending.subarray(size + 8);
      if (type === METHOD) this.#onMethod(new Reader(payload));
      else if (type === HEADER) this.#onHeader(payload);
      else if (type === BODY) this.#onBody(payload);
    }
  }

  #onMethod(reader) {
    const found = name(reader.short(), reader.short());
    if (found === name(60, 60)) {
      reader.shortText();
      const [tag, redelivered] = [reader.longlong(), reader.octet() === 1];
      reader.shortText();
      this.message = { tag, redelivered, key: reader.shortText(), parts: [] };
    } else if (found === name(60, 80) || found === name(60, 120)) {
      this.#confirmed(reader.longlong(), reader.octet() & 1, found === name(60, 80));
    } else if (found === name(10, 50) || found === name(20, 40)) {
      const code = reader.short();
      this.#end(new Error(`the broker refuses: ${code} ${reader.shortText()}`));
    } else {
      const place = this.waiting.findIndex((each) => each.wanted === found);
      if (place >= 0) this.waiting.splice(place, 1)[0].resolve(reader);
    }
  }

  #confirmed(tag, multiple, taken) {
    const tags = multiple ? [...this.confirms.keys()].filter((each) => each <= tag) : [tag];
    for (const each of tags) {
      const { resolve, reject } = this.confirms.get(each);
      this.confirms.delete(each);
      taken ? resolve() : reject(new Error("the broker did not take the message"));
    }
  }

  #onHeader(payload) {
    this.message.left = Number(payload.readBigUInt64BE(4));
    if (this.message.left === 0) this.#whole();
  }

  #onBody(payload) {
    this.message.parts.push(payload);
    this.message.left -= payload.length;
    if (this.message.left === 0) this.#whole();
  }

  #whole() {
    const { tag, redelivered, key, parts } = this.message;
    this.onMessage({ tag, redelivered, key, body: Buffer.concat(parts) });
  }

  #end(error) {
    if (this.failure) return;
    this.failure = error;
    clearInterval(this.beat);
    for (const each of [...this.waiting, ...this.confirms.values()]) each.reject(error);
    this.socket.destroy();
    this.#onEnd(error);
  }
}
