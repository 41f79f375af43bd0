/** The memory engine, except that the test decides when, and whether, a message is stored. */
import type { AppendRequest } from "../../src/engine/engine.ts";
import { MemoryEngine } from "../../src/engine/memory/engine.ts";
import { WarrenError } from "../../src/errors.ts";
import { eventually } from "./eventually.ts";

export class HeldEngine extends MemoryEngine {
  readonly held: AppendRequest[] = [];
  holding = true;

  override append(request: AppendRequest): void {
    if (this.holding) this.held.push(request);
    else super.append(request);
  }

  /** Resolves when so many messages wait to be stored. */
  holds(count: number): Promise<void> {
    return eventually(
      () => this.held.length === count,
      () => `${count} held appends; there are ${this.held.length}`,
    );
  }

  /** Stores the oldest ones that wait. */
  release(count = this.held.length): void {
    for (const request of this.held.splice(0, count)) super.append(request);
  }

  /** Fails the oldest ones that wait. */
  fail(count = this.held.length): void {
    const error = new WarrenError("storage_unavailable");
    for (const request of this.held.splice(0, count)) request.failed(error);
  }
}
