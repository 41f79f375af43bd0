/** A start with very many stored channels [P-13.8, P-14.9]: it takes no longer than reading them does. */
import { expect, test } from "bun:test";
import { rm } from "node:fs/promises";
import { startTestWarren } from "../harness/warren.ts";

const MANY = 10_000;

test("[P-14.9, P-13.8] with ten thousand stored channels it starts, and each holds", async () => {
  const first = await startTestWarren();
  const { records } = first.warren.broker.engine;
  for (let from = 0; from < MANY; from += 1000) {
    const changes = Array.from({ length: 1000 }, (_, n) => {
      const name = `tenant-${from + n}`;
      const value = { filter: `${name}/#`, maxPayloadBytes: 4, everyone: ["publish"] };
      return { collection: "channels", key: name, value } as const;
    });
    await records.write(changes);
  }
  await first.warren.stop("restart");
  await using again = await startTestWarren({ dataDir: first.dataDir });
  for (const topic of ["tenant-0/a", `tenant-${MANY - 1}/a`]) {
    const { status, body } = await again.json("POST", `/v1/topics/${topic}`, "12345");
    expect([status, body.code]).toEqual([413, "too_large"]);
  }
  await rm(first.dataDir, { recursive: true, force: true });
});
