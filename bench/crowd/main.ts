/** The process of a crowd: does what it is told over IPC, one order after the other. */
import { sleep, until } from "../load/timing.ts";
import { EchoMeter } from "./echo.ts";
import { type Comings, Member } from "./member.ts";
import type { Answer, ComeBack, Join, Order, Returns, Seen, Watch } from "./messages.ts";

const AT_ONCE = 50;
const WATCH_LIMIT_MS = 60_000;

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

async function comeBack({ cut }: ComeBack): Promise<Returns> {
  const comings: Comings = { attempts: 0, refusals: {} };
  await Promise.all(members.map((member) => member.comeBack(cut, comings)));
  return { ...comings, backAtMs: members.map((member) => member.backAtMs) };
}

async function follow(order: Order): Promise<unknown> {
  switch (order.kind) {
    case "join":
      return join(order);
    case "watch":
      return watch(order);
    case "come back":
      return comeBack(order);
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
