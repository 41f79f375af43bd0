/** The process of a crowd: does what it is told over IPC, one order after the other. */
import { Connection, ConnectionClosed, parseFrames } from "../load/connection.ts";
import { sleep, until } from "../load/timing.ts";
import { EchoMeter } from "./echo.ts";
import {
  type Answer,
  type Join,
  machineMs,
  type Order,
  type Seen,
  type Watch,
} from "./messages.ts";

const AT_ONCE = 50;
const WATCH_LIMIT_MS = 60_000;

/** One client that notes when it was told that something has ended. */
class Member {
  endedAtMs = 0;
  code = 0;
  unsubscribedAtMs = 0;
  #left: number;

  constructor(subscriptions: number) {
    this.#left = subscriptions;
  }

  static async join({ port, credential, filters }: Join, n: number): Promise<Member> {
    const member = new Member(filters.length);
    let joined = false;
    const refused = Promise.withResolvers<never>();
    const fail = (error: Error) => {
      if (joined) member.#ended(error);
      else refused.reject(error);
    };
    const open = Connection.open(port, fail, credential);
    const connection = await Promise.race([open, refused.promise]);
    for (const filter of filters) {
      const request = { type: "subscribe", filter: filter.replace("{n}", String(n)) };
      await Promise.race([connection.request(request), refused.promise]);
    }
    joined = true;
    member.#leave = () => connection.close();
    connection.listen({ skim: () => false, message: (bytes) => member.#told(bytes) });
    return member;
  }

  #leave = () => {};

  #told(bytes: Buffer): void {
    for (const { type, code } of parseFrames(bytes)) {
      if (type === "notice" && code === "unsubscribed" && --this.#left === 0) {
        this.unsubscribedAtMs = machineMs();
      }
    }
  }

  #ended(error: Error): void {
    if (this.endedAtMs > 0) return;
    this.endedAtMs = machineMs();
    this.code = error instanceof ConnectionClosed ? error.code : 0;
    this.#leave();
  }

  leave(): void {
    this.#leave();
  }
}

let members: Member[] = [];
let echo: EchoMeter | undefined;

async function join(order: Join): Promise<void> {
  for (const member of members) member.leave();
  members = [];
  for (let n = 0; n < order.count; n += AT_ONCE) {
    const step = Math.min(AT_ONCE, order.count - n);
    const joining = Array.from({ length: step }, (_, at) =>
      Member.join(order, order.from + n + at),
    );
    members.push(...(await Promise.all(joining)));
  }
}

async function watch({ what }: Watch): Promise<Seen> {
  const at = (member: Member) => (what === "end" ? member.endedAtMs : member.unsubscribedAtMs);
  await until(
    () => members.every((member) => at(member) > 0),
    () => `${members.filter((member) => at(member) > 0).length} of ${members.length}`,
    WATCH_LIMIT_MS,
  );
  const codes: Record<string, number> = {};
  for (const { code } of members) codes[code] = (codes[code] ?? 0) + 1;
  return { atMs: members.map(at).sort((a, b) => a - b), codes };
}

async function follow(order: Order): Promise<unknown> {
  switch (order.kind) {
    case "join":
      return join(order);
    case "watch":
      return watch(order);
    case "echo":
      echo = await EchoMeter.start(order);
      return undefined;
    case "echoes":
      // What is still on its way counts too.
      await sleep(1000);
      return echo?.summary(order);
  }
}

process.on("message", (order: Order) => {
  follow(order).then(
    (done) => process.send!({ done } satisfies Answer),
    (error: Error) => process.send!({ failed: error.message } satisfies Answer),
  );
});
// Nobody is left to answer to.
process.on("disconnect", () => process.exit(1));
