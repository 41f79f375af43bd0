/** Floods of what never becomes a WebSocket: heads, URLs, silence. */
import type { Socket } from "node:net";
import { type Attack, type Hostile, head, type Start, sameToBare, type Target } from "./hostile.ts";

const TEXT_64_KIB = "x".repeat(64 * 1024);

/** A thousand sockets that come again when they are closed. */
function thousand(target: Target, hostile: Hostile, text: string): () => Socket[] {
  const sockets = Array.from({ length: 1000 }, () => hostile.socket(target, text));
  return () => {
    for (const [at, socket] of sockets.entries()) {
      if (socket.destroyed) sockets[at] = hostile.socket(target, text);
    }
    return sockets;
  };
}

const drops: Start = (target, hostile) => {
  const sockets = thousand(target, hostile, `${head("/ws")}\r\nX-`);
  let at = 0;
  return () => {
    const all = sockets();
    for (let i = 0; i < 10; i++) {
      const socket = all[at++ % all.length]!;
      if (socket.writable) socket.write("a");
    }
  };
};

const silence: Start = (target, hostile) => {
  const sockets = thousand(target, hostile, "");
  let at = 0;
  return () => {
    const all = sockets();
    // Some give up and come again: 300 a second.
    for (let i = 0; i < 3; i++) all[at++ % all.length]!.destroy();
  };
};

const huge: Start = (target, hostile) => {
  const texts = [`${head("/ws")}\r\nX-Long: ${TEXT_64_KIB}`, head(`/ws?${TEXT_64_KIB}`)];
  let at = 0;
  return () => {
    for (let i = 0; i < 5; i++) hostile.socket(target, texts[at++ % texts.length]!);
  };
};

export const OPENINGS: readonly Attack[] = [
  {
    name: "1,000 heads, a byte a second each",
    start: drops,
    control: sameToBare(drops),
    unrated: true,
  },
  {
    name: "1,000 that are connected and silent, 300 a second of them anew",
    start: silence,
    control: sameToBare(silence),
    unrated: true,
  },
  {
    name: "heads and URLs of 64 KiB, 500 a second",
    start: huge,
    control: sameToBare(huge),
    unrated: true,
  },
];
