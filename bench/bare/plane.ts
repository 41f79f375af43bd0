/** The bare server over HTTP: pull and settle, pushing to an endpoint, moving dead letters back. */
import type { Floor, Row } from "./floor.ts";

/** As much as there is, up to `max`: no long poll. */
export function pull(floor: Floor, max: number): Response {
  const deliveries: string[] = [];
  while (deliveries.length < max) {
    const row = floor.take();
    if (row === undefined) break;
    deliveries.push(floor.delivery(row));
  }
  const headers = { "content-type": "application/json" };
  return new Response(`{"deliveries":[${deliveries.join(",")}]}`, { headers });
}

export async function settle(floor: Floor, tags: readonly number[]): Promise<Response> {
  await floor.remove(tags);
  return Response.json({ results: tags.map((tag) => ({ type: "ok", tag })) });
}

export interface Endpoint {
  readonly url: string;
  readonly maxInFlight: number;
}

/** Posts every message to the endpoint, so many at a time. */
export function push(floor: Floor, { url, maxInFlight }: Endpoint): void {
  let inFlight = 0;
  const send = async ({ id, messageId, payload }: Row) => {
    const headers = { "content-type": "application/json", "message-id": messageId };
    const answer = await fetch(url, { method: "POST", headers, body: payload });
    await answer.body?.cancel();
    if (!answer.ok) throw new Error(`the endpoint answered ${answer.status}`);
    await floor.remove([id]);
    inFlight--;
    more();
  };
  const more = () => {
    while (inFlight < maxInFlight) {
      const row = floor.take();
      if (row === undefined) return;
      inFlight++;
      void send(row);
    }
  };
  floor.onReady = more;
  more();
}
