/** What the engine does, and does not do, while nothing can be written. */
import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SqliteEngine } from "../../src/engine/sqlite/engine.ts";
import { type EngineKind, refusal, Subject } from "../contracts/engine/subject.ts";
import { eventually } from "../harness/eventually.ts";
import { LocalWriter, turns } from "./local-writer.ts";

function kindOf(writer: LocalWriter): EngineKind {
  return {
    name: "sqlite",
    durable: true,
    async open(parts) {
      const dataDir = await mkdtemp(join(tmpdir(), "warren-engine-"));
      const startWriter = writer.start;
      return {
        create: () => new SqliteEngine({ ...parts, dataDir, durability: "os", startWriter }),
        dispose: () => rm(dataDir, { recursive: true, force: true }),
      };
    },
  };
}

test("[P-5.6, P-5.8] a message that has expired and cannot be buried keeps nobody busy", async () => {
  const writer = new LocalWriter();
  await using subject = await Subject.open(kindOf(writer));
  await subject.define("q", { ttlMs: 1000 });
  const peer = subject.consume("q");
  await subject.append("q", { id: "old" });
  writer.isFailing = true;
  expect(await refusal(subject.append("q"))).toBe("storage_unavailable");
  subject.clock.advance(2000);
  await turns(10);
  const before = writer.batches;
  peer.consumer.credit(5);
  await turns(200);
  expect(writer.batches - before).toBeLessThan(5);
  expect(peer.ids).toEqual([]);
  writer.isFailing = false;
  // The probe finds out that it can be written again.
  subject.clock.advance(2000);
  await eventually(
    () => subject.engine.health.state === "ready",
    () => "storage that can be written",
  );
  await subject.quiet();
  expect([subject.states("q"), subject.states("q.dead")]).toEqual([
    [0, 0, 0],
    [1, 0, 0],
  ]);
});

test("[P-5.10, P-3.4] a message whose ack is not stored comes back before the others of its key", async () => {
  const writer = new LocalWriter();
  await using subject = await Subject.open(kindOf(writer));
  await subject.define("q", { ordering: "key" });
  await subject.appendAll("q", ["a1", "a2"], { key: "a" });
  const peer = subject.consume("q", 5);
  const first = await peer.next();
  expect(first.message.id).toBe("a1");
  writer.isFailing = true;
  expect((await peer.ack(first.tag))?.code).toBe("storage_unavailable");
  await turns(20);
  writer.isFailing = false;
  subject.clock.advance(2000);
  await eventually(
    () => subject.engine.health.state === "ready",
    () => "storage that can be written",
  );
  const again = await peer.next();
  expect(again.message.id).toBe("a1");
  expect(subject.states("q")).toEqual([1, 0, 1]);
  await peer.ack(again.tag);
  expect((await peer.next()).message.id).toBe("a2");
});
