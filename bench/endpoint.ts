/** An HTTP endpoint in a process of its own, for what is pushed: it answers 204 and counts. */
import { sleep } from "./load/timing.ts";

const LIMIT_MS = 120_000;

export interface Endpoint {
  readonly url: string;
  /** Resolves when it has had so many requests. */
  received(count: number): Promise<void>;
  stop(): Promise<unknown>;
}

export async function startEndpoint(): Promise<Endpoint> {
  const child = Bun.spawn([process.execPath, import.meta.path], { stdout: "pipe" });
  const { value } = await child.stdout.getReader().read();
  const url = Buffer.from(value ?? [])
    .toString()
    .trim();
  const counted = async () => Number(await (await fetch(`${url}count`)).text());
  return {
    url,
    received: async (count) => {
      const deadline = performance.now() + LIMIT_MS;
      for (let have = await counted(); have < count; have = await counted()) {
        if (performance.now() > deadline) throw new Error(`the endpoint got ${have} of ${count}`);
        await sleep(10);
      }
    },
    stop: () => {
      child.kill();
      return child.exited;
    },
  };
}

if (import.meta.main) {
  let count = 0;
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch(request) {
      if (request.method === "GET") return new Response(String(count));
      count++;
      return new Response(null, { status: 204 });
    },
  });
  console.log(String(server.url));
}
