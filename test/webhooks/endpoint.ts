/** An HTTP endpoint that a test holds in its hand: what came, and what it answers. */
import { eventually } from "../harness/eventually.ts";

export interface Received {
  readonly headers: Headers;
  readonly body: Buffer;
}

export interface Endpoint extends AsyncDisposable {
  readonly url: string;
  readonly received: readonly Received[];
  /** Requests that are not answered yet, now and at most. */
  readonly open: { now: number; most: number };
  /** What the following requests are answered. */
  answer: (request: Received) => Response | Promise<Response>;
  /** Resolves when as many have come. */
  came(count: number): Promise<void>;
}

export function startEndpoint(): Endpoint {
  const received: Received[] = [];
  const open = { now: 0, most: 0 };
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      const one = { headers: request.headers, body: Buffer.from(await request.arrayBuffer()) };
      open.now++;
      open.most = Math.max(open.most, open.now);
      received.push(one);
      try {
        return await endpoint.answer(one);
      } finally {
        open.now--;
      }
    },
  });
  const endpoint: Endpoint = {
    url: `http://127.0.0.1:${server.port}/hook`,
    received,
    open,
    answer: () => new Response(),
    came: (count) =>
      eventually(
        () => received.length >= count,
        () => `${count} requests; ${received.length} came`,
      ),
    [Symbol.asyncDispose]: () => server.stop(true),
  };
  return endpoint;
}
