/** A client for tests: small verbs on one WebSocket, in either encoding, that never wait for a time. */
import { decode, encode } from "@msgpack/msgpack";

export type Encoding = "json" | "msgpack";
export const ENCODINGS: readonly Encoding[] = ["json", "msgpack"];

// biome-ignore lint/suspicious/noExplicitAny: tests say what they expect
export type Frame = Record<string, any>;
type Wanted = string | ((frame: Frame) => boolean);

export interface ConnectOptions {
  readonly encoding?: Encoding;
  readonly token?: string;
  readonly headers?: Record<string, string>;
  /** Whom to trust, and the client's own certificate. */
  readonly tls?: Readonly<Record<string, string>>;
  /** Offered as they are, instead of the encoding's own. */
  readonly protocols?: string[];
}

export interface Closed {
  readonly code: number;
  readonly reason: string;
}

/** What was waited for came in vain; far longer than a slow machine needs. */
const BOUND_MS = 20_000;

interface Waiter {
  readonly wanted: Wanted;
  resolve(frame: Frame): void;
  reject(error: Error): void;
}

export class WireClient implements Disposable {
  readonly socket: WebSocket;
  readonly encoding: Encoding;
  /** The first frame [P-1.5]. */
  welcome: Frame = {};
  /** Everything that came and was not asked for yet, in order. */
  readonly inbox: Frame[] = [];
  /** WebSocket messages so far: an array of frames counts once. */
  messages = 0;
  readonly #waiters: Waiter[] = [];
  readonly #closed = Promise.withResolvers<Closed>();
  #nextId = 1;

  private constructor(socket: WebSocket, encoding: Encoding) {
    this.socket = socket;
    this.encoding = encoding;
    socket.binaryType = "arraybuffer";
    socket.addEventListener("message", ({ data }) => this.#receive(data));
    socket.addEventListener("close", ({ code, reason }) => {
      this.#closed.resolve({ code, reason });
      for (const waiter of this.#waiters.splice(0)) {
        waiter.reject(new Error(`closed with ${code} (${reason}) while waiting`));
      }
    });
  }

  /** Connects without waiting for `welcome`: for those who still have to send `auth`. */
  static async open(url: string, options: ConnectOptions = {}): Promise<WireClient> {
    const encoding = options.encoding ?? "json";
    const headers = {
      ...(options.token !== undefined && { Authorization: `Bearer ${options.token}` }),
      ...options.headers,
    };
    const protocols = options.protocols ?? [`warren.v1.${encoding}`];
    const { tls } = options;
    const socket = new WebSocket(url, { headers, protocols, ...(tls && { tls }) } as never);
    const client = new WireClient(socket, encoding);
    await new Promise<void>((resolve, reject) => {
      socket.addEventListener("open", () => resolve());
      socket.addEventListener("close", ({ code }) => reject(new Error(`refused with ${code}`)));
    });
    return client;
  }

  static async connect(url: string, options: ConnectOptions = {}): Promise<WireClient> {
    const client = await WireClient.open(url, options);
    client.welcome = await client.expect("welcome");
    return client;
  }

  /** One frame, or an array of frames as one message. */
  send(frame: Frame | readonly Frame[]): void {
    this.socket.send(this.encoding === "json" ? JSON.stringify(frame) : encode(frame));
  }

  /** Sends the frame with an id of its own, and resolves to its answer, be it `ok` or `error`. */
  request(frame: Frame): Promise<Frame> {
    const id = frame.id ?? `r${this.#nextId++}`;
    const answer = this.expect(
      (one) => (one.type === "ok" || one.type === "error") && one.id === id,
    );
    this.send({ ...frame, id });
    return answer;
  }

  /** As `request`, rejecting unless the answer is `ok`. */
  async ok(frame: Frame): Promise<Frame> {
    const answer = await this.request(frame);
    if (answer.type !== "ok") throw new Error(`refused: ${JSON.stringify(answer)}`);
    return answer;
  }

  /** The first frame, come or to come, of this type or for which this holds; it leaves the inbox. */
  expect(wanted: Wanted): Promise<Frame> {
    const at = this.inbox.findIndex((frame) => fits(frame, wanted));
    if (at >= 0) return Promise.resolve(this.inbox.splice(at, 1)[0]!);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const came = JSON.stringify(this.inbox.slice(0, 20));
        reject(new Error(`In vain waited for ${wanted}; what came: ${came}`));
      }, BOUND_MS);
      this.#waiters.push({
        wanted,
        resolve(frame) {
          clearTimeout(timer);
          resolve(frame);
        },
        reject(error) {
          clearTimeout(timer);
          reject(error);
        },
      });
    });
  }

  /**
   * Sends a ping and takes everything that came before its answer: what has not come by then was not
   * sent, since a connection's frames are in order.
   */
  async everythingUntilNow(): Promise<Frame[]> {
    const answer = await this.ok({ type: "ping" });
    // A route's events leave after the replies of the same turn: a second answer is behind them.
    const second = await this.ok({ type: "ping" });
    if (answer === second) throw new Error("one answer for two pings");
    return this.inbox.splice(0);
  }

  /** Resolves when the connection is closed, by whomever. */
  closed(): Promise<Closed> {
    return this.#closed.promise;
  }

  close(): Promise<Closed> {
    this.socket.close(1000);
    return this.closed();
  }

  [Symbol.dispose](): void {
    this.socket.close();
  }

  #receive(data: unknown): void {
    this.messages++;
    const value =
      typeof data === "string" ? JSON.parse(data) : decode(new Uint8Array(data as ArrayBuffer));
    for (const frame of Array.isArray(value) ? value : [value]) this.#take(frame as Frame);
  }

  #take(frame: Frame): void {
    const at = this.#waiters.findIndex(({ wanted }) => fits(frame, wanted));
    if (at < 0) this.inbox.push(frame);
    else this.#waiters.splice(at, 1)[0]!.resolve(frame);
  }
}

function fits(frame: Frame, wanted: Wanted): boolean {
  return typeof wanted === "string" ? frame.type === wanted : wanted(frame);
}
