/** Short words for what tests of dead letters and tasks do to a broker. */
import { eventually } from "../harness/eventually.ts";
import type { TestWarren } from "../harness/warren.ts";

/** A broker that requests are made to. */
export type Answering = Pick<TestWarren, "json">;

export const QUEUES = "/admin/v1/queues";

/** So many messages in jobs.dead, told apart by `n`; `filler` is more payload. */
export async function dead(broker: Answering, count: number, filler = ""): Promise<string[]> {
  const ids = Array.from({ length: count }, (_, n) => `m${n}`);
  const messages = ids.map((messageId, n) => ({
    topic: `jobs/${n % 2}`,
    messageId,
    payload: { n, text: `Order number ${n}`, filler },
    headers: { kind: n % 3 === 0 ? "a" : "b" },
  }));
  await broker.json("POST", "/v1/publish", messages);
  const { body } = await broker.json("POST", "/v1/queues/jobs/pull", {
    max: count,
    waitMs: 20_000,
  });
  const tags = body.deliveries.map(({ tag }: { tag: number }) => tag);
  await broker.json("POST", "/v1/queues/jobs/settle", { reject: [{ tags, reason: "broken" }] });
  return ids;
}

export async function idsIn(broker: Answering, queue: string, query = ""): Promise<string[]> {
  const { body } = await broker.json("GET", `${QUEUES}/${queue}/messages?limit=1000${query}`);
  return body.messages.map(({ messageId }: { messageId: string }) => messageId);
}

type Shown = Record<string, unknown>;

/** The task, once it is as it is waited for. */
export async function becomes(
  broker: Answering,
  id: string,
  isSo: (task: Shown) => boolean,
): Promise<Shown> {
  let task: Shown = {};
  let asking = false;
  await eventually(
    () => {
      if (!asking) {
        asking = true;
        void broker.json("GET", `/admin/v1/tasks/${id}`).then(({ body }) => {
          task = body;
          asking = false;
        });
      }
      return task.state !== undefined && isSo(task);
    },
    () => `the task, which is ${JSON.stringify(task)}`,
  );
  return task;
}

export function ended(broker: Answering, id: string): Promise<Shown> {
  return becomes(broker, id, ({ state }) => state !== "running");
}

/** Requests to a broker in another process. */
export function answersOf(url: string): TestWarren["json"] {
  return async (method, path, body) => {
    const sent = body === undefined ? {} : { body: JSON.stringify(body) };
    const answer = await fetch(`${url}${path}`, { method, ...sent });
    const text = await answer.text();
    const { status, headers } = answer;
    return { status, headers, body: text === "" ? undefined : JSON.parse(text) };
  };
}
