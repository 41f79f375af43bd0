/**
 * What a generator needs to know of a peer's protocol: how to make the work queue, publish with
 * confirms, and take and ack deliveries. Frames are made once and patched, as with Warren.
 */
import type { Fail } from "../load/connection.ts";

/** Called with how many publishes were confirmed, the oldest first. */
export type Confirmed = (count: number) => void;
/** Called with the bytes in which `count` deliveries came, before they are acked. */
export type Delivered = (count: number, bytes: Buffer) => void;

export interface PeerPublisher {
  /** One whole publish, with a payload of the generator's: its `seq` and `sent` are patched. */
  readonly frame: Buffer;
  send(bytes: Buffer): void;
  close(): void;
}

export interface Peer {
  /** Makes the queue, and waits until it is there. */
  setUp(port: number, fail: Fail): Promise<void>;
  openPublisher(
    port: number,
    index: number,
    payload: string,
    confirmed: Confirmed,
    fail: Fail,
  ): Promise<PeerPublisher>;
  /** Starts taking deliveries, at most `credit` unacked at a time; acks each. */
  openConsumer(
    port: number,
    index: number,
    credit: number,
    delivered: Delivered,
    fail: Fail,
  ): Promise<{ close(): void }>;
}
