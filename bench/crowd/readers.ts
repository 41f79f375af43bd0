/** Floods of subscriptions and topics, and subscribers that do not read. */
import type { Socket } from "node:net";
import {
  type Attack,
  type Control,
  frameOf,
  type Hostile,
  OPCODE,
  type Start,
  sameToBare,
  type Target,
  upgradeHead,
} from "./hostile.ts";

const FILTER = frameOf(OPCODE.text, '{"type":"subscribe","filter":"flood/#"}');
const KIB = "x".repeat(1024);
/** Frames in one message. */
const TOGETHER = 250;

/** Somebody who subscribes, and then reads as he likes. */
function subscriber(target: Target, hostile: Hostile, then: (socket: Socket) => void): void {
  const socket = hostile.socket(target, upgradeHead(target));
  socket.once("data", () => {
    socket.write(FILTER);
    then(socket);
  });
}

const reading = (socket: Socket) => void socket.on("data", () => undefined);
const mute = (socket: Socket) => void socket.pause();

/** 16 KiB now and then: 160 KB a second. */
function slowly(socket: Socket): void {
  socket.pause();
  const timer = setInterval(() => {
    socket.read(16 * 1024);
    if (socket.destroyed) clearInterval(timer);
  }, 100);
}

/** Publishes so many events of 1 KiB every 10 ms. */
function publishing(target: Target, hostile: Hostile, count: number): () => void {
  const lines = hostile.lines(target, 1);
  const frame = `{"type":"publish","topic":"flood/1","payload":"${KIB}"}`;
  return () => {
    for (const line of lines()) for (let i = 0; i < count; i++) line.send(frame);
  };
}

function events(perStep: number, kinds: readonly [number, (socket: Socket) => void][]): Start {
  return (target, hostile) => {
    for (const [count, then] of kinds) {
      for (let i = 0; i < count; i++) subscriber(target, hostile, then);
    }
    return publishing(target, hostile, perStep);
  };
}

const honest = (name: string, start: Start): Control => ({ name, side: "warren", start });

let last = 0;

const subscribes: Start = (target, hostile) => {
  const lines = hostile.lines(target, 10);
  return () => {
    for (const line of lines()) {
      for (let i = 0; i < 10; i++) {
        line.send(`{"type":"subscribe","filter":"flood/${++last}/+/#"}`);
        line.send(`{"type":"unsubscribe","filter":"flood/${last - 2000}/+/#"}`);
      }
    }
  };
};

/** So many publishes on each of four connections every 10 ms, in arrays. */
const topics =
  (count: number): Start =>
  (target, hostile) => {
    const lines = hostile.lines(target, 4);
    return () => {
      for (const line of lines()) {
        for (let sent = 0; sent < count; sent += TOGETHER) {
          let text = "";
          for (let i = 0; i < TOGETHER; i++) {
            text += `,{"type":"publish","topic":"flood/${++last}","payload":1}`;
          }
          line.send(`[${text.slice(1)}]`);
        }
      }
    };
  };

/** Messages of 250 publishes, as fast as they are taken, on two connections. */
const asFastAsTaken: Start = (target, hostile) => {
  const lines = hostile.rawLines(target, 2);
  const frames = new Array(TOGETHER).fill('{"type":"publish","topic":"flood/1","payload":1}');
  const messages = Buffer.concat(new Array(50).fill(frameOf(OPCODE.text, `[${frames.join()}]`)));
  return () => {
    for (const line of lines())
      while (line.writableLength < 4 * KIB.length ** 2) line.write(messages);
  };
};

export const READERS: readonly Attack[] = [
  {
    name: "10,000 subscribes a second, to ever new filters",
    start: subscribes,
    control: sameToBare(subscribes),
  },
  {
    name: "2,000,000 publishes in 10 s, to ever new topics",
    start: topics(500),
    control: sameToBare(topics(500)),
    floodMs: 10_000,
  },
  {
    name: "two who publish as fast as it is taken",
    start: asFastAsTaken,
    control: sameToBare(asFastAsTaken),
    // Until it does not grow any more.
    floodMs: 8000,
  },
  {
    name: "one who reads nothing of 10 MB a second",
    start: events(100, [[1, mute]]),
    control: honest("one who reads it", events(100, [[1, reading]])),
  },
  {
    name: "one who reads a tenth beside ten who read all of 1 MB a second",
    start: events(10, [
      [1, slowly],
      [10, reading],
    ]),
    control: honest("eleven who read all", events(10, [[11, reading]])),
  },
  {
    name: "1,000 who vanished, of 100 events a second each",
    start: events(1, [[1000, mute]]),
    control: honest("1,000 who read them", events(1, [[1000, reading]])),
  },
];
