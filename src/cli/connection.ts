/** A connection of the command line to a broker: the native protocol in JSON over a WebSocket. */
import type { ClientFrame, ServerFrameOf } from "../../schemas/frames.ts";
import { Failure, type Input, textFlag, UsageError } from "./command.ts";
import { refusalText } from "./refusal.ts";

const DEFAULT_URL = "http://127.0.0.1:7070";

export interface Address {
  /** Without a path, such as `http://127.0.0.1:7070`. */
  readonly http: string;
  /** Such as `ws://127.0.0.1:7070/ws`. */
  readonly webSocket: string;
  readonly token: string | undefined;
}

/** The broker that the flags or the environment name. */
export function addressOf(input: Input): Address {
  const given = textFlag(input, "url") ?? input.env.WARREN_URL ?? DEFAULT_URL;
  const url = URL.parse(given);
  if (url === null || !/^(?:https?|wss?):$/.test(url.protocol)) {
    throw new UsageError(`--url must be an http or ws address, not ${given}`);
  }
  const secure = url.protocol === "https:" || url.protocol === "wss:";
  return {
    http: `http${secure ? "s" : ""}://${url.host}`,
    webSocket: `ws${secure ? "s" : ""}://${url.host}/ws`,
    token: textFlag(input, "token") ?? input.env.WARREN_TOKEN,
  };
}

/** What the client sends: the connection numbers what it wants answered. */
export type Request = ClientFrame extends infer F
  ? F extends { type: string }
    ? Omit<F, "id">
    : never
  : never;

export type Reply = ServerFrameOf<"ok">;
type Incoming = { readonly type: string; readonly id?: number } & Record<string, unknown>;

export interface Listener {
  /** Every frame that answers no request. */
  frame?(frame: Incoming): void;
}

export class Connection {
  readonly #socket: WebSocket;
  readonly #listener: Listener;
  readonly #pending = new Map<number, PromiseWithResolvers<Reply>>();
  readonly #welcomed = Promise.withResolvers<void>();
  /** What `welcome` said of the broker's limits. */
  limits: Readonly<Record<string, number>> = {};
  readonly #closed = Promise.withResolvers<void>();
  #nextId = 1;
  #closing = false;

  private constructor(socket: WebSocket, listener: Listener) {
    this.#socket = socket;
    this.#listener = listener;
    socket.onmessage = ({ data }) => this.#receive(String(data));
    socket.onclose = ({ code, reason }) => this.#end(code, reason);
  }

  /** Resolves once the broker has said welcome; rejects with a `Failure` for people. */
  static async open(address: Address, listener: Listener): Promise<Connection> {
    const { token, webSocket } = address;
    const headers = token === undefined ? {} : { Authorization: `Bearer ${token}` };
    const socket = new WebSocket(webSocket, { headers, protocols: ["warren.v1.json"] });
    const connection = new Connection(socket, listener);
    try {
      await connection.#welcomed.promise;
    } catch (error) {
      throw (await whyRefused(address)) ?? error;
    }
    return connection;
  }

  /** Sends a frame and resolves with its `ok`; rejects with a `Failure` that holds its error. */
  request(frame: Request): Promise<Reply> {
    const id = this.#nextId++;
    const answer = Promise.withResolvers<Reply>();
    this.#pending.set(id, answer);
    this.#socket.send(JSON.stringify({ ...frame, id }));
    return answer.promise;
  }

  /** Rejects when the connection ends by no act of ours; resolves after `close`. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  close(): void {
    this.#closing = true;
    this.#socket.close(1000);
    this.#closed.resolve();
  }

  #receive(text: string): void {
    const message: Incoming | Incoming[] = JSON.parse(text);
    for (const frame of Array.isArray(message) ? message : [message]) this.#take(frame);
  }

  #take(frame: Incoming): void {
    if (frame.type === "welcome") {
      this.limits = frame.limits as Record<string, number>;
      this.#welcomed.resolve();
    }
    const pending = frame.id === undefined ? undefined : this.#pending.get(frame.id);
    if (pending === undefined || frame.id === undefined) {
      this.#listener.frame?.(frame);
      return;
    }
    this.#pending.delete(frame.id);
    if (frame.type === "ok") pending.resolve(frame as unknown as Reply);
    else pending.reject(new Failure(refusalOf(frame)));
  }

  #end(code: number, reason: string): void {
    if (this.#closing) return;
    const error = new Failure(`The connection ended: ${code}${reason === "" ? "" : ` ${reason}`}`);
    this.#welcomed.reject(error);
    for (const pending of this.#pending.values()) pending.reject(error);
    this.#pending.clear();
    this.#closed.promise.catch(() => undefined);
    this.#closed.reject(error);
  }
}

function refusalOf({ code, message, detail }: Incoming): string {
  const about = (detail ?? {}) as Record<string, unknown>;
  return refusalText({ code: String(code), sentence: String(message), about });
}

/** A WebSocket hides why its handshake was refused; the same credentials over HTTP do not. */
async function whyRefused({ http, token }: Address): Promise<Failure | undefined> {
  const headers = token === undefined ? {} : { Authorization: `Bearer ${token}` };
  try {
    for (const probe of [
      await fetch(`${http}/readyz`),
      await fetch(`${http}/v1/publish`, { method: "POST", body: "[]", headers }),
    ]) {
      const { code, detail } = (await probe.json()) as { code?: string; detail?: string };
      if (code !== undefined) return new Failure(`${code}: ${detail}`);
    }
    return undefined;
  } catch {
    return unreachable(http);
  }
}

export function unreachable(http: string): Failure {
  return new Failure(`Nothing answers at ${http}. Is the broker running? (warren serve)`);
}
