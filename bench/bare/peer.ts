/** One connection of the bare server: its outbox leaves as one message a turn, like Warren's. */
import type { ServerWebSocket } from "bun";

/** Frames in one message, at most: the protocol's limit for a batch. */
const BATCH = 256;

export interface Peer {
  ws: ServerWebSocket<Peer> | undefined;
  /** Frames to send at the end of the turn. */
  outbox: string[];
  /** How many more deliveries it may have; meaningful for consumers. */
  credit: number;
}

export const newPeer = (): Peer => ({ ws: undefined, outbox: [], credit: 0 });

/** Sends what is in the outbox: one frame as it is, several as an array. */
export function flushPeer(peer: Peer): void {
  const frames = peer.outbox;
  if (frames.length === 0) return;
  peer.outbox = [];
  const ws = peer.ws;
  if (ws === undefined) return;
  if (frames.length <= BATCH) {
    ws.send(frames.length === 1 ? frames[0]! : `[${frames.join(",")}]`);
    return;
  }
  ws.cork(() => {
    for (let from = 0; from < frames.length; from += BATCH) {
      ws.send(`[${frames.slice(from, from + BATCH).join(",")}]`);
    }
  });
}

export function dropPeer(peer: Peer): void {
  peer.ws = undefined;
  peer.outbox = [];
}
