/** `warren serve` as a process of its own, on a free port. */
import { type RunningCli, startCli } from "./cli.ts";
import { eventually } from "./eventually.ts";

export interface Served extends AsyncDisposable {
  readonly child: RunningCli;
  readonly url: string;
  /** What it has logged so far. */
  // biome-ignore lint/suspicious/noExplicitAny: tests say what they expect
  log(): any[];
  /** Resolves when it has logged this sentence. */
  logged(sentence: string): Promise<void>;
}

/** Resolves when the broker listens. */
export async function serve(
  dataDir: string,
  words: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
  preload?: string,
): Promise<Served> {
  const child = startCli(["serve", "--port", "0", "--data-dir", dataDir, "--json", ...words], {
    env,
    ...(preload !== undefined && { preload }),
  });
  const log = () =>
    child.out
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line));
  const logged = (sentence: string) =>
    eventually(
      () => log().some(({ msg }) => msg === sentence),
      () => `"${sentence}" in: ${child.out}${child.err}`,
    );
  await Promise.race([logged("listening"), child.exited]);
  const listening = log().find(({ msg }) => msg === "listening");
  if (listening === undefined) throw new Error(`It did not start: ${child.out}${child.err}`);
  return {
    child,
    url: listening.url,
    log,
    logged,
    [Symbol.asyncDispose]: () => child[Symbol.asyncDispose](),
  };
}
