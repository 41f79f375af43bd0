/** A whole broker for a test, on a free port with a directory of its own; both go when the test ends. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { configFrom, configSecrets } from "../../src/config.ts";
import { createLogger } from "../../src/log.ts";
import { startWarren, type Warren, type WarrenDeps } from "../../src/main.ts";

export interface TestWarren extends AsyncDisposable {
  readonly warren: Warren;
  readonly url: string;
  readonly dataDir: string;
  /** Everything that was logged, as JSON lines. */
  readonly log: string[];
  /** A request below the broker's address; a body that is no text or bytes goes as JSON. */
  request(
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<Response>;
  /** The same, with the answer's JSON and its status. */
  json(
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<Answer>;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: tests say what they expect
  readonly body: any;
}

export async function startTestWarren(
  settings: Readonly<Record<string, unknown>> = {},
  deps: Partial<WarrenDeps> = {},
): Promise<TestWarren> {
  const dataDir = await mkdtemp(join(tmpdir(), "warren-test-"));
  const log: string[] = [];
  const config = configFrom({ port: 0, dataDir, ...settings });
  const secrets = configSecrets(config);
  const write = (line: string) => void log.push(line);
  const logger = createLogger({ format: "json", level: "debug", secrets, write });
  const warren = await startWarren(config, { log: logger, ...deps });
  const request: TestWarren["request"] = (method, path, body, headers) =>
    fetch(`${warren.url}${path}`, { method, ...bodyOf(body), ...(headers && { headers }) });
  return {
    warren,
    url: warren.url,
    dataDir,
    log,
    request,
    async json(method, path, body, headers) {
      const answer = await request(method, path, body, headers);
      const text = await answer.text();
      return {
        status: answer.status,
        headers: answer.headers,
        body: text === "" ? undefined : JSON.parse(text),
      };
    },
    async [Symbol.asyncDispose]() {
      await warren.stop("end of test");
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

function bodyOf(body: unknown): { body?: string | Uint8Array<ArrayBuffer> } {
  if (body === undefined) return {};
  if (typeof body === "string") return { body };
  if (body instanceof Uint8Array) return { body: Uint8Array.from(body) };
  return { body: JSON.stringify(body) };
}
