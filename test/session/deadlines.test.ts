/** What is due for very many sessions at one time [P-9.1]: bounded work a turn, nobody left out. */
import { expect, test } from "bun:test";
import type { Clock } from "../../src/clock.ts";
import { Deadlines, type HasDeadline } from "../../src/session/deadlines.ts";

/** Time that passes only as sessions are seen to, and timers that are let go by hand. */
class HandClock implements Clock {
  ms = 0;
  readonly timers: { readonly at: number; readonly action: () => void }[] = [];

  now(): number {
    return this.ms;
  }

  elapsedMs(): number {
    return this.ms;
  }

  after(delayMs: number, action: () => void) {
    const timer = { at: this.ms + Math.max(delayMs, 0), action };
    this.timers.push(timer);
    return { cancel: () => void this.timers.splice(this.timers.indexOf(timer), 1) };
  }

  endOfTurn(action: () => void): void {
    this.after(0, action);
  }

  /** Calls the timer that is due first, at its time. */
  fire(): void {
    const [first] = this.timers.sort((a, b) => a.at - b.at).splice(0, 1);
    this.ms = Math.max(this.ms, first?.at ?? 0);
    first?.action();
  }
}

test("[P-9.1, P-14.4] tokens that end in one second end in parts, in their order, all of them", () => {
  const clock = new HandClock();
  const deadlines = new Deadlines(clock);
  const ended: number[] = [];
  const all = Array.from({ length: 100 }, (_, n) => {
    const item: HasDeadline = {
      deadline: 0,
      heapIndex: -1,
      onDeadline() {
        ended.push(n);
        clock.ms++;
      },
    };
    deadlines.set(item, 1000 + n / 100);
    return item;
  });
  deadlines.clear(all[99]!);
  let turns = 0;
  for (; clock.timers.length > 0; turns++) {
    const before = ended.length;
    clock.fire();
    expect(ended.length - before).toBeLessThanOrEqual(4);
  }
  expect(ended).toEqual(Array.from({ length: 99 }, (_, n) => n));
  expect(turns).toBeGreaterThan(20);
});
