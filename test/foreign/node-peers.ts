/**
 * WebSocket and HTTP clients that are not ours: `ws` and `fetch` on a Node process, which is told what to
 * do and tells what happens (node/peer.mjs).
 */
import { join } from "node:path";
import { eventually } from "../harness/eventually.ts";
import type { Encoding, Frame } from "../harness/wire-client.ts";

const SCRIPT = join(import.meta.dir, "node/peer.mjs");

/** Where Node is; tests are skipped by name where it is not. */
export const NODE = Bun.which("node");
if (NODE === null) process.stdout.write("SKIPPED-MISSING-PROGRAM: node\n");

export interface Opening {
  readonly protocols?: readonly string[];
  readonly headers?: Readonly<Record<string, string>>;
}

export interface FetchOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** One of these is the body. */
  readonly json?: unknown;
  readonly msgpack?: unknown;
  readonly bytes?: Uint8Array;
  readonly text?: string;
}

export interface Fetched {
  readonly status: number;
  readonly type: string | null;
  // biome-ignore lint/suspicious/noExplicitAny: tests say what they expect
  readonly value: any;
}

/** Something that happened to a socket; binary in it is a Uint8Array. */
type Happening = Frame & { readonly socket: number; readonly happened: string };

export class NodePeers implements AsyncDisposable {
  readonly #child = Bun.spawn([NODE ?? "node", SCRIPT], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
  });
  readonly #happenings = new Map<number, Happening[]>();
  #last = 0;
  #errors = "";

  constructor() {
    this.#listen();
    this.#collectErrors();
  }

  /** A client that tries to connect; what comes of it is to be waited for. */
  connect(url: string, opening: Opening = {}): NodePeer {
    const { protocols = [], headers = {} } = opening;
    const peer = new NodePeer(this, this.#begin());
    this.order(peer.id, "connect", { url, protocols, headers });
    return peer;
  }

  /** A client that is connected in this encoding, `welcome` taken. */
  async welcome(url: string, encoding: Encoding = "json"): Promise<NodePeer> {
    const peer = this.connect(url, { protocols: [`warren.v1.${encoding}`] });
    peer.encoding = encoding;
    await peer.expect("welcome");
    return peer;
  }

  async fetch(url: string, options: FetchOptions = {}): Promise<Fetched> {
    const id = this.#begin();
    this.order(id, "fetch", { url, method: "GET", headers: {}, ...options });
    const answer = await this.happening(id, ({ happened }) => happened === "answer");
    return answer as unknown as Fetched;
  }

  order(socket: number, order: string, options: object): void {
    this.#child.stdin.write(`${JSON.stringify({ socket, order, ...options }, packed)}\n`);
    this.#child.stdin.flush();
  }

  /** What has happened to this socket and was not taken yet. */
  happenings(socket: number): Happening[] {
    return this.#happenings.get(socket) ?? [];
  }

  /** Takes the first thing, happened or to happen, for which this holds. */
  async happening(socket: number, wanted: (one: Happening) => boolean): Promise<Happening> {
    const all = this.happenings(socket);
    await eventually(
      () => all.some(wanted) || this.#child.exitCode !== null,
      () => `what is wanted; there is ${JSON.stringify(all).slice(0, 1000)} ${this.#errors}`,
    );
    const at = all.findIndex(wanted);
    if (at < 0) throw new Error(`Node has ended: ${this.#errors}`);
    return all.splice(at, 1)[0]!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin.end();
    await this.#child.exited;
  }

  #begin(): number {
    const id = ++this.#last;
    this.#happenings.set(id, []);
    return id;
  }

  async #listen(): Promise<void> {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of this.#child.stdout) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.#take(JSON.parse(line, unpacked));
    }
  }

  /** A message of several frames becomes as many things that happened [P-2.1]. */
  #take(happening: Happening): void {
    const all = this.#happenings.get(happening.socket) ?? [];
    if (happening.happened !== "message") {
      all.push(happening);
      return;
    }
    const { value, socket, isBinary } = happening;
    const together = Array.isArray(value) ? value.length : 1;
    for (const frame of Array.isArray(value) ? value : [value]) {
      all.push({ socket, happened: "frame", isBinary, together, frame });
    }
  }

  async #collectErrors(): Promise<void> {
    this.#errors += await this.#child.stderr.text();
  }
}

export class NodePeer {
  readonly id: number;
  encoding: Encoding = "json";
  readonly #peers: NodePeers;
  #nextId = 1;

  constructor(peers: NodePeers, id: number) {
    this.#peers = peers;
    this.id = id;
  }

  send(value: unknown): void {
    this.#peers.order(this.id, this.encoding, { value });
  }

  /** A message with this text or these bytes, as they are. */
  sendRaw(value: string | Uint8Array): void {
    this.#peers.order(this.id, typeof value === "string" ? "text" : "bytes", { value });
  }

  ping(value: string): void {
    this.#peers.order(this.id, "ping", { value });
  }

  close(code: number, reason = ""): void {
    this.#peers.order(this.id, "close", { code, reason });
  }

  /** The first frame of this type, or for which this holds. */
  async expect(wanted: string | ((frame: Frame) => boolean)): Promise<Frame> {
    const fits = (frame: Frame) =>
      typeof wanted === "string" ? frame.type === wanted : wanted(frame);
    return (await this.frame(fits)).frame;
  }

  /** The same, with the kind of message that it came in: `isBinary`, and frames `together`. */
  frame(fits: (frame: Frame) => boolean = () => true): Promise<Frame> {
    return this.#peers.happening(
      this.id,
      ({ happened, frame }) => happened === "frame" && fits(frame),
    );
  }

  /** What happened beside frames: `open`, `refused`, `pong`, `close`. */
  happened(what: string): Promise<Frame> {
    return this.#peers.happening(this.id, ({ happened }) => happened === what);
  }

  /** Sends the frame with an id of its own; resolves to its answer, be it `ok` or `error`. */
  request(frame: Frame): Promise<Frame> {
    const id = frame.id ?? `n${this.#nextId++}`;
    this.send({ ...frame, id });
    return this.expect((one) => one.id === id && (one.type === "ok" || one.type === "error"));
  }

  async ok(frame: Frame): Promise<Frame> {
    const answer = await this.request(frame);
    if (answer.type !== "ok") throw new Error(`refused: ${JSON.stringify(answer)}`);
    return answer;
  }

  /** The frames that came before the answers to two pings: a route's events are behind the first. */
  async everythingUntilNow(): Promise<Frame[]> {
    await this.ok({ type: "ping" });
    await this.ok({ type: "ping" });
    return this.#peers
      .happenings(this.id)
      .splice(0)
      .filter(({ happened }) => happened === "frame")
      .map(({ frame }) => frame);
  }
}

function packed(_key: string, value: unknown): unknown {
  return value instanceof Uint8Array ? { $binary: value.toBase64() } : value;
}

function unpacked(_key: string, value: unknown): unknown {
  const text = (value as { $binary?: unknown } | null)?.$binary;
  return typeof text === "string" ? Uint8Array.fromBase64(text) : value;
}
