/** Peers who wish a broker ill, each of one kind, at a bounded pace: what to do every 10 ms. */
import { connect, type Socket } from "node:net";

export interface Target {
  readonly port: number;
  readonly token: string;
}

export interface Attack {
  readonly name: string;
  /** Begins it; the answer is done again and again. */
  start(target: Target, hostile: Hostile): () => void;
}

const TEXT_64_KIB = "x".repeat(64 * 1024);
const DEEP = `{"type":"publish","topic":"deep","payload":${"[".repeat(10_000)}${"]".repeat(10_000)}}`;
/** Says that it is an array of four billion. */
const BOMB = Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff]);

/** The connections of an attack, of which those that are closed come again. */
export class Hostile {
  readonly #sockets = new Set<Socket>();
  readonly #lines: WebSocket[] = [];
  closed = 0;

  /** A bare TCP connection. */
  socket({ port }: Target, text: string): Socket {
    const socket = connect(port, "127.0.0.1");
    this.#sockets.add(socket);
    socket.on("error", () => undefined);
    socket.once("close", () => {
      this.closed++;
      this.#sockets.delete(socket);
    });
    socket.write(text);
    return socket;
  }

  /** So many WebSockets; the function gives those that are open now. */
  lines(target: Target, count: number, protocol?: string): () => WebSocket[] {
    const { port, token } = target;
    const url = `ws://127.0.0.1:${port}/ws?access_token=${token}`;
    const lines = this.#lines;
    const open = (at: number) => {
      const line = protocol === undefined ? new WebSocket(url) : new WebSocket(url, protocol);
      line.onclose = () => {
        this.closed++;
        if (lines[at] === line) open(at);
      };
      lines[at] = line;
    };
    for (let at = 0; at < count; at++) open(at);
    return () => lines.filter(({ readyState }) => readyState === WebSocket.OPEN);
  }

  end(): void {
    for (const line of this.#lines.splice(0)) line.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

const head = (path: string, more = "") => `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n${more}`;

/** One who is connected and reads nothing. */
function mute(target: Target, hostile: Hostile, filter: string): void {
  const path = `/ws?access_token=${target.token}`;
  const upgrade =
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
  const socket = hostile.socket(target, head(path, upgrade));
  const frame = Buffer.from(JSON.stringify({ type: "subscribe", filter }));
  socket.once("data", () => {
    socket.write(Buffer.concat([Buffer.from([0x81, 0x80 | frame.length, 0, 0, 0, 0]), frame]));
    socket.pause();
  });
}

/** Publishes so much on the topic every 10 ms. */
function publishing(target: Target, hostile: Hostile, topics: string[], payload: string) {
  const lines = hostile.lines(target, 1);
  const frames = topics.map((topic) => JSON.stringify({ type: "publish", topic, payload }));
  return () => {
    for (const line of lines()) for (const frame of frames) line.send(frame);
  };
}

let last = 0;

export const ATTACKS: readonly Attack[] = [
  {
    name: "1,000 heads, a byte a second each",
    start(target, hostile) {
      const sockets = Array.from({ length: 1000 }, () => hostile.socket(target, head("/ws", "X-")));
      let at = 0;
      return () => {
        for (let i = 0; i < 10; i++) {
          const socket = sockets[at++ % sockets.length]!;
          if (socket.writable) socket.write("a");
        }
      };
    },
  },
  {
    name: "500 heads of 64 KiB a second",
    start: (target, hostile) => () => {
      for (let i = 0; i < 5; i++) hostile.socket(target, head("/ws", `X-Long: ${TEXT_64_KIB}`));
    },
  },
  {
    name: "500 URLs of 64 KiB a second",
    start: (target, hostile) => () => {
      for (let i = 0; i < 5; i++) hostile.socket(target, head(`/ws?${TEXT_64_KIB}`));
    },
  },
  {
    name: "payloads 10,000 deep, 500 a second",
    start(target, hostile) {
      const lines = hostile.lines(target, 5);
      return () => {
        for (const line of lines()) line.send(DEEP);
      };
    },
  },
  {
    name: "MessagePack bombs, 500 a second",
    start(target, hostile) {
      const lines = hostile.lines(target, 5, "warren.v1.msgpack");
      return () => {
        for (const line of lines()) line.send(BOMB);
      };
    },
  },
  {
    name: "10,000 subscribes a second, to ever new filters",
    start(target, hostile) {
      const lines = hostile.lines(target, 10);
      return () => {
        for (const line of lines()) {
          for (let i = 0; i < 10; i++) {
            const filter = `flood/${++last}/+/#`;
            line.send(JSON.stringify({ type: "subscribe", filter }));
            line.send(JSON.stringify({ type: "unsubscribe", filter: `flood/${last - 2000}/+/#` }));
          }
        }
      };
    },
  },
  {
    name: "20,000 publishes a second, to ever new topics",
    start(target, hostile) {
      const lines = hostile.lines(target, 4);
      return () => {
        for (const line of lines()) {
          for (let i = 0; i < 50; i++) {
            line.send(`{"type":"publish","topic":"flood/${++last}","payload":1}`);
          }
        }
      };
    },
  },
  {
    name: "one who reads nothing of 10 MB a second",
    start(target, hostile) {
      mute(target, hostile, "flood/#");
      return publishing(target, hostile, new Array(100).fill("flood/1"), "x".repeat(1024));
    },
  },
  {
    name: "1,000 who vanished, of 100 events a second each",
    start(target, hostile) {
      for (let i = 0; i < 1000; i++) mute(target, hostile, "flood/#");
      return publishing(target, hostile, ["flood/1"], "x".repeat(1024));
    },
  },
];
