/** Small durable records and the audit trail: what the broker keeps beside the queues. */
import { describe, expect, test } from "bun:test";
import type { AuditEntry, AuditQuery } from "../../../src/engine/audit.ts";
import type { RecordChange } from "../../../src/engine/records.ts";
import { type EngineKind, refusal, Subject } from "./subject.ts";

const role = (key: string, value: unknown): RecordChange => ({ collection: "roles", key, value });

export function describeRecords(kind: EngineKind): void {
  describe("records", () => describeSmallRecords(kind));
  describe("the audit trail", () => {
    describeTrail(kind);
    describeTrailBounds(kind);
  });
}

function describeSmallRecords(kind: EngineKind): void {
  const roles = (subject: Subject) => [...subject.engine.records.all("roles")];

  test("they are there when the write resolves, and every change was told before", async () => {
    await using subject = await Subject.open(kind);
    const { records } = subject.engine;
    const value = { grants: [{ allow: ["publish"], on: ["a/#"] }] };
    const written = records.write([role("b", value), role("a", 1)]);
    expect(roles(subject)).toEqual([]);
    value.grants.length = 0;
    await written;
    const kept = { grants: [{ allow: ["publish"], on: ["a/#"] }] };
    expect(roles(subject)).toEqual([
      ["b", kept],
      ["a", 1],
    ]);
    expect(subject.recordChanges).toEqual([
      ["roles", "b", kept],
      ["roles", "a", 1],
    ]);
    expect(records.all("keys").size).toBe(0);
  });

  test("a record keeps its place when it is written again, and goes to the end when it was away", async () => {
    await using subject = await Subject.open(kind);
    const { records } = subject.engine;
    await records.write(["a", "b", "c"].map((key) => role(key, 0)));
    await records.write([role("a", 1), role("b", undefined)]);
    await records.write([role("b", 2), role("never", undefined)]);
    const expected = [
      ["a", 1],
      ["c", 0],
      ["b", 2],
    ];
    expect(roles(subject) as unknown[]).toEqual(expected);
    expect(subject.recordChanges.at(-1)).toEqual(["roles", "never", undefined]);
    if (kind.durable) {
      await subject.reopen();
      expect(roles(subject) as unknown[]).toEqual(expected);
    }
  });

  test("writes take effect in the order of the calls", async () => {
    await using subject = await Subject.open(kind);
    const { records } = subject.engine;
    await Promise.all(Array.from({ length: 50 }, (_, n) => records.write([role("a", n)])));
    expect(roles(subject)).toEqual([["a", 49]]);
    expect(subject.recordChanges.map(([, , value]) => value)).toEqual(
      Array.from({ length: 50 }, (_, n) => n),
    );
    await records.write([]);
  });

  test("past the bound nothing of a write happens, and room that a removal makes counts", async () => {
    await using subject = await Subject.open(kind, { limits: { records: 3 } });
    const { records } = subject.engine;
    await records.write([role("a", 1), role("b", 1)]);
    const under = records.write([role("c", 1)]);
    expect(await refusal(records.write([role("a", 2), role("d", 1)]))).toBe("conflict");
    await under;
    expect(roles(subject).map(([key, value]) => [key, value])).toEqual([
      ["a", 1],
      ["b", 1],
      ["c", 1],
    ]);
    await records.write([role("a", undefined), role("d", 1), role("d", 2)]);
    await records.write([{ collection: "keys", key: "k", value: true }]);
    expect(await refusal(records.write([role("e", 1)]))).toBe("conflict");
    expect(roles(subject).map(([key]) => key)).toEqual(["b", "c", "d"]);
  });

  test("after close they are refused as draining, what was accepted before is not", async () => {
    await using subject = await Subject.open(kind);
    const { records } = subject.engine;
    const accepted = records.write([role("a", 1)]);
    const closing = subject.engine.close();
    expect(await refusal(records.write([role("b", 1)]))).toBe("draining");
    await Promise.all([accepted, closing]);
    if (kind.durable) {
      await subject.reopen();
      expect(roles(subject)).toEqual([["a", 1]]);
    }
  });
}

/** Writes so many entries, told apart by `count`, the newest last. */
function writeEntries(subject: Subject, count: number, more: Partial<AuditEntry> = {}): void {
  for (let n = 0; n < count; n++) {
    const time = subject.clock.now();
    subject.engine.audit.write({ time, action: "queue.purge", outcome: "done", count: n, ...more });
  }
}

async function countsOf(subject: Subject, query: Partial<AuditQuery> = {}): Promise<unknown[]> {
  const { entries } = await subject.engine.audit.query({ limit: 1000, ...query });
  return entries.map(({ count }) => count);
}

function describeTrail(kind: EngineKind): void {
  test("[P-13.5] entries are there as they were written, newest first", async () => {
    await using subject = await Subject.open(kind);
    const { audit } = subject.engine;
    const first: AuditEntry = {
      time: subject.clock.now(),
      action: "queue.delete",
      outcome: "refused",
      principal: 'it\'s "me"',
      session: "s",
      address: "127.0.0.1",
      on: "jobs",
      code: "conflict",
      count: 3,
      detail: { messages: 3, nested: { a: [1] } },
    };
    const second: AuditEntry = { time: 1, action: "key.create", outcome: "done" };
    audit.write(first);
    audit.write(second);
    expect(await audit.query({ limit: 10 })).toEqual({ entries: [second, first] });
    if (kind.durable) {
      await subject.reopen();
      const { entries } = await subject.engine.audit.query({ limit: 10 });
      expect(entries).toEqual([second, first]);
    }
  });

  test("[P-13.5] each filter leaves out what does not fit", async () => {
    await using subject = await Subject.open(kind);
    const { audit } = subject.engine;
    const base = { action: "a.b", outcome: "done", principal: "p", on: "q" } as const;
    const variants: Partial<AuditEntry>[] = [
      {},
      { action: "a.c" },
      { outcome: "failed" },
      { principal: "P" },
      { on: "q2" },
    ];
    for (const [n, variant] of variants.entries()) {
      audit.write({ time: 10 + n, ...base, ...variant, count: n });
    }
    audit.write({ time: 15, action: "a.b", outcome: "done", count: 5 });
    expect(await countsOf(subject, { action: "a.b" })).toEqual([5, 4, 3, 2, 0]);
    expect(await countsOf(subject, { action: "a" })).toEqual([]);
    expect(await countsOf(subject, { outcome: "failed" })).toEqual([2]);
    expect(await countsOf(subject, { principal: "p" })).toEqual([4, 2, 1, 0]);
    expect(await countsOf(subject, { on: "q" })).toEqual([3, 2, 1, 0]);
    expect(await countsOf(subject, { from: 12, to: 14 })).toEqual([4, 3, 2]);
    expect(await countsOf(subject, { principal: "p", on: "q", outcome: "done" })).toEqual([1, 0]);
  });

  test("[P-13.5] pages join without gap or repetition while entries come in", async () => {
    await using subject = await Subject.open(kind);
    writeEntries(subject, 7);
    writeEntries(subject, 3, { on: "other" });
    const pages: unknown[][] = [];
    let after: string | undefined;
    do {
      const page = await subject.engine.audit.query({
        limit: 3,
        action: "queue.purge",
        ...(after === undefined ? {} : { after }),
      });
      pages.push(page.entries.map(({ count }) => count));
      after = page.next;
      writeEntries(subject, 1);
    } while (after !== undefined);
    expect(pages).toEqual([[2, 1, 0], [6, 5, 4], [3, 2, 1], [0]]);
    expect(await refusal(subject.engine.audit.query({ limit: 1, after: "x" }))).toBe(
      "invalid_frame",
    );
  });
}

function describeTrailBounds(kind: EngineKind): void {
  test("[P-13.5] of more than the bound the oldest go", async () => {
    await using subject = await Subject.open(kind, { limits: { auditEntries: 5 } });
    writeEntries(subject, 8);
    expect(await countsOf(subject)).toEqual([7, 6, 5, 4, 3]);
  });

  test("[P-13.5] an entry that cannot be kept is dropped and counted, and nothing is thrown", async () => {
    await using subject = await Subject.open(kind);
    writeEntries(subject, 1, { detail: { big: 1n } });
    writeEntries(subject, 1);
    expect(await countsOf(subject)).toEqual([0]);
    expect(subject.engine.counters.auditDropped).toBe(1);
    await subject.engine.close();
    writeEntries(subject, 1);
    expect(subject.engine.counters.auditDropped).toBe(2);
  });

  test("[P-13.5] what is written before close is stored", async () => {
    if (!kind.durable) return;
    await using subject = await Subject.open(kind);
    writeEntries(subject, 3);
    await subject.reopen();
    expect(await countsOf(subject)).toEqual([2, 1, 0]);
  });
}
