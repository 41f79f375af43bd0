/** A whole broker over the memory engine, for tests of what is seen at its sockets. */
import type { QueueDefinition } from "../../schemas/queue.ts";
import { systemClock, systemRandom } from "../../src/clock.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { MemoryEngine } from "../../src/engine/memory/engine.ts";
import { completeSettings } from "../../src/engine/rules.ts";
import { DEFAULT_LIMITS, type Limits } from "../../src/limits.ts";
import type { Warren, WarrenDeps } from "../../src/main.ts";
import { startTestWarren } from "./warren.ts";

export interface TestBroker extends AsyncDisposable {
  readonly warren: Warren;
  /** Such as `http://127.0.0.1:4321`. */
  readonly httpUrl: string;
  /** Where WebSockets connect. */
  readonly wsUrl: string;
  readonly log: readonly string[];
  /** Defines a queue with these bindings. */
  queue(name: string, bindings: readonly string[], settings?: QueueDefinition): Promise<void>;
  stop(): Promise<void>;
}

export interface BrokerOptions {
  readonly limits?: Partial<Limits>;
  /** Settings of access: `jwt`, `keys`, `roles`, `anonymous`, `allowedOrigins`. */
  readonly access?: Readonly<Record<string, unknown>>;
  /** Made with the limits in force; the memory engine when absent. */
  readonly engine?: (limits: Limits) => Engine;
  readonly deps?: Partial<WarrenDeps>;
}

export async function startBroker(options: BrokerOptions = {}): Promise<TestBroker> {
  const limits: Limits = { ...DEFAULT_LIMITS, drainMs: 2000, ...options.limits };
  const clock = options.deps?.clock ?? systemClock;
  const random = options.deps?.random ?? systemRandom;
  const engine = options.engine?.(limits) ?? new MemoryEngine({ clock, random, limits });
  const settings = { limits, ...options.access };
  const running = await startTestWarren(settings, { ...options.deps, engine });
  const { warren, url } = running;
  return {
    warren,
    httpUrl: url,
    wsUrl: `${url.replace("http", "ws")}/ws`,
    log: running.log,
    async queue(name, bindings, settings = {}) {
      await engine.queues.define(name, completeSettings(settings), bindings);
    },
    stop: () => warren.stop("end of test"),
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  };
}
