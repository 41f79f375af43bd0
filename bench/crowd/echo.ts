/** Clients that publish to themselves at a rate, and remember when each echo was sent and how long it took. */
import { Connection } from "../load/connection.ts";
import { pace } from "../load/timing.ts";
import { textFrame } from "../load/wire.ts";
import { type Echoes, type EchoStart, type EchoSummary, machineMs } from "./messages.ts";

const HEAD = '"payload":';

export class EchoMeter {
  readonly #sentMs: number[] = [];
  readonly #tookMs: number[] = [];

  static async start(order: EchoStart): Promise<EchoMeter> {
    const meter = new EchoMeter();
    let started = false;
    const refused = Promise.withResolvers<never>();
    refused.promise.catch(() => {});
    const fail = (error: Error) => {
      if (started) process.send!({ failed: `an echo: ${error.message}` });
      else refused.reject(error);
    };
    const peers = await Promise.all(
      Array.from({ length: order.connections }, async (_, n) => {
        const open = Connection.open(order.port, fail, order.credential);
        const connection = await Promise.race([open, refused.promise]);
        const topic = `echo/${n}`;
        await connection.request({ type: "subscribe", filter: topic });
        connection.listen({ skim: () => false, message: (bytes) => meter.#received(bytes) });
        return { connection, topic };
      }),
    );
    started = true;
    let sent = 0;
    pace(order.perSecond, order.connections, (count) => {
      for (let i = 0; i < count; i++) {
        const { connection, topic } = peers[sent++ % peers.length]!;
        const frame = `{"type":"publish","topic":"${topic}",${HEAD}${machineMs()}}`;
        connection.send(textFrame(frame));
      }
      return count;
    });
    return meter;
  }

  #received(bytes: Buffer): void {
    const now = machineMs();
    let at = bytes.indexOf(HEAD);
    while (at >= 0) {
      const text = bytes.toString("latin1", at + HEAD.length, at + HEAD.length + 24);
      const sentMs = Number.parseFloat(text);
      this.#sentMs.push(sentMs);
      this.#tookMs.push(now - sentMs);
      at = bytes.indexOf(HEAD, at + HEAD.length);
    }
  }

  summary({ fromMs, toMs }: EchoSummary): Echoes {
    const took = this.#tookMs
      .filter((_, i) => this.#sentMs[i]! >= fromMs && this.#sentMs[i]! < toMs)
      .sort((a, b) => a - b);
    const at = (share: number) =>
      1000 * (took[Math.min(took.length - 1, Math.floor(took.length * share))] ?? 0);
    return { count: took.length, p50Us: at(0.5), p99Us: at(0.99), mostUs: at(1) };
  }
}
