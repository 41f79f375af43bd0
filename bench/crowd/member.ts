/** One client of a crowd: notes when it was told that something has ended, and comes back if it is to. */
import { Connection, ConnectionClosed, parseFrames, UpgradeRefused } from "../load/connection.ts";
import { sleep } from "../load/timing.ts";
import { type Join, machineMs } from "./messages.ts";

/** How long a client waits that was told nothing: at first, and at most; then spread to half as much more. */
const WAIT_MS = { first: 100, most: 5000 } as const;

/** What the comings back of a crowd count together. */
export interface Comings {
  attempts: number;
  readonly refusals: Record<string, number>;
}

export class Member {
  endedAtMs = 0;
  code = 0;
  unsubscribedAtMs = 0;
  backAtMs = 0;
  readonly #order: Join;
  readonly #number: number;
  #connection: Connection | undefined;
  #subscriptions: number;
  /** What the broker said of when to come again. */
  #toldToWaitMs: number | undefined;
  #ended = Promise.withResolvers<void>();

  private constructor(order: Join, number: number) {
    this.#order = order;
    this.#number = number;
    this.#subscriptions = order.filters.length;
  }

  static async join(order: Join, number: number): Promise<Member> {
    const member = new Member(order, number);
    await member.#connect();
    return member;
  }

  leave(): void {
    this.#connection?.close();
  }

  /** Resolves when it is connected and subscribed again. */
  async comeBack(cut: boolean, comings: Comings): Promise<void> {
    if (cut) this.leave();
    else await this.#ended.promise;
    let wait = this.#toldToWaitMs ?? 0;
    for (let tries = 0; ; tries++) {
      await sleep(wait);
      comings.attempts++;
      try {
        await this.#connect();
        break;
      } catch (error) {
        const refused = error instanceof UpgradeRefused ? error : undefined;
        const name = refused === undefined ? "none" : String(refused.status);
        comings.refusals[name] = (comings.refusals[name] ?? 0) + 1;
        const most = Math.min(WAIT_MS.first * 2 ** tries, WAIT_MS.most);
        wait = refused?.retryAfterMs ?? most * (1 + Math.random() / 2);
      }
    }
    this.backAtMs = machineMs();
  }

  async #connect(): Promise<void> {
    const { port, credentials, filters } = this.#order;
    this.#ended = Promise.withResolvers<void>();
    let joined = false;
    const refused = Promise.withResolvers<never>();
    const fail = (error: Error) => {
      if (joined) this.#endedWith(error);
      else refused.reject(error);
    };
    const credential = credentials[this.#number % credentials.length];
    const open = Connection.open(port, fail, credential);
    const connection = await Promise.race([open, refused.promise]);
    this.#connection = connection;
    for (const filter of filters) {
      const request = { type: "subscribe", filter: filter.replace("{n}", String(this.#number)) };
      await Promise.race([connection.request(request), refused.promise]);
    }
    joined = true;
    connection.listen({ skim: () => false, message: (bytes) => this.#told(bytes) });
  }

  #told(bytes: Buffer): void {
    for (const { type, code, reconnectAfterMs } of parseFrames(bytes)) {
      if (type !== "notice") continue;
      if (code === "draining") this.#toldToWaitMs = reconnectAfterMs;
      if (code !== "unsubscribed" || --this.#subscriptions > 0) continue;
      this.unsubscribedAtMs = machineMs();
    }
  }

  #endedWith(error: Error): void {
    if (this.endedAtMs === 0) {
      this.endedAtMs = machineMs();
      this.code = error instanceof ConnectionClosed ? error.code : 0;
    }
    this.leave();
    this.#ended.resolve();
  }
}
