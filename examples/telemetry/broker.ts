/** A broker of the example's own: on a free port, with a directory that goes when it ends. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const PATIENCE_MS = 30_000;

export interface Broker extends AsyncDisposable {
  readonly url: string;
}

export interface Depth {
  readonly ready: number;
  readonly delayed: number;
  readonly inFlight: number;
}

export async function startBroker(): Promise<Broker> {
  const dataDir = await mkdtemp(join(tmpdir(), "warren-telemetry-"));
  const port = freePort();
  const main = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
  const child = Bun.spawn(
    [process.execPath, main, "serve", "--port", `${port}`, "--data-dir", dataDir],
    { stdout: "ignore", stderr: "inherit", env: { ...process.env, WARREN_LOG_LEVEL: "warn" } },
  );
  const url = `http://127.0.0.1:${port}`;
  const isReady = () => fetch(`${url}/readyz`).then((answer) => answer.ok);
  await until("the broker is ready", () => isReady().catch(() => false));
  return {
    url,
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      await child.exited;
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

export async function defineQueue(url: string, name: string, settings: object): Promise<void> {
  const answer = await fetch(`${url}/admin/v1/queues/${name}`, {
    method: "PUT",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(settings),
  });
  if (!answer.ok) throw new Error(`the queue was refused: ${await answer.text()}`);
}

/** What the broker itself says is in a queue. */
export async function depthOf(url: string, queue: string): Promise<Depth> {
  const answer = await fetch(`${url}/admin/v1/queues/${queue}`);
  if (!answer.ok) throw new Error(`no queue ${queue}: ${await answer.text()}`);
  return ((await answer.json()) as { counts: Depth }).counts;
}

/** The reasons of the dead letters, looked at without taking them. */
export async function deathsIn(url: string, queue: string): Promise<string[]> {
  const answer = await fetch(`${url}/admin/v1/queues/${queue}.dead/messages?limit=1000`);
  const page = (await answer.json()) as { messages: { deaths: { reason: string }[] }[] };
  return page.messages.map(({ deaths }) => deaths[0]!.reason);
}

/** Looks again and again until it is so; throws when it takes too long. */
export async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await isSo())) {
    if (Date.now() > deadline) throw new Error(`waited ${PATIENCE_MS} ms in vain until ${what}`);
    await Bun.sleep(20);
  }
}

function freePort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = listener;
  listener.stop(true);
  return port;
}
