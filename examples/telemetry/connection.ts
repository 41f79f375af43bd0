/**
 * All that a program needs to talk to Warren without an SDK: a WebSocket, JSON, and a map of the
 * questions that are waiting for their answers.
 */

export interface Frame {
  readonly type: string;
  readonly id?: number;
  readonly [field: string]: unknown;
}

type Waiting = { resolve(frame: Frame): void; reject(error: Error): void };

export class Connection {
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  /** Called with what comes in one message and is no answer: events, deliveries, notices. */
  onFrames: (frames: readonly Frame[]) => void = () => undefined;
  onClose: () => void = () => undefined;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#receive(String(data));
    socket.onclose = ({ code }) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`closed with ${code}`));
      this.#waiting.clear();
      this.onClose();
    };
  }

  /** Connects and waits for `welcome`. */
  static async open(url: string): Promise<Connection> {
    const socket = new WebSocket(`${url.replace(/^http/, "ws")}/ws`, "warren.v1.json");
    const connection = new Connection(socket);
    await new Promise<void>((resolve, reject) => {
      connection.onFrames = ([first]) => {
        if (first?.type === "welcome") resolve();
        else reject(new Error(`expected welcome, got ${JSON.stringify(first)}`));
      };
      connection.onClose = () => reject(new Error(`no broker answers at ${url}`));
    });
    connection.onFrames = () => undefined;
    connection.onClose = () => undefined;
    return connection;
  }

  /** Sends a frame and waits for its `ok`; an `error` is thrown. */
  ask(frame: Omit<Frame, "id">): Promise<Frame> {
    const id = ++this.#lastId;
    this.#socket.send(JSON.stringify({ ...frame, id }));
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }

  close(): void {
    this.#socket.close(1000);
  }

  /** A message holds one frame or an array of them, as the broker likes. */
  #receive(text: string): void {
    const decoded = JSON.parse(text) as Frame | Frame[];
    const rest = (Array.isArray(decoded) ? decoded : [decoded]).filter((f) => !this.#answer(f));
    if (rest.length > 0) this.onFrames(rest);
  }

  #answer(frame: Frame): boolean {
    if (frame.type !== "ok" && frame.type !== "error") return false;
    const waiting = this.#waiting.get(frame.id ?? 0);
    if (frame.id !== undefined) this.#waiting.delete(frame.id);
    if (frame.type === "ok") waiting?.resolve(frame);
    else waiting?.reject(new Error(`${frame.code}: ${frame.message}`));
    return true;
  }
}
