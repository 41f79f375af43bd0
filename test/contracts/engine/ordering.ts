/** One message of a key at a time, in order, and fair turns between keys: [P-5.10]. */
import { describe, expect, test } from "bun:test";
import { fill, oneByOne, opened, sameKey, tagOf } from "./keyed.ts";
import type { EngineKind } from "./subject.ts";

export function describeOrdering(kind: EngineKind): void {
  describe("ordering by key", () => {
    test("[P-5.10] one message of a key is out at a time, those without a key as they come", async () => {
      await using subject = await opened(kind);
      await fill(subject, "x1 x2 y1 -1 -2 x3 y2");
      const peer = subject.consume("a", 10);
      await peer.has(4);
      await subject.quiet();
      expect(peer.ids.join(" ")).toBe("x1 y1 -1 -2");
      await peer.ack(tagOf(peer, "x1"));
      await peer.has(5);
      await subject.quiet();
      expect(peer.ids.slice(4)).toEqual(["x2"]);
      expect(subject.states("a")).toEqual([2, 0, 4]);
      await peer.ack([tagOf(peer, "y1"), tagOf(peer, "x2")]);
      await peer.has(7);
      expect(peer.ids.slice(5).sort()).toEqual(["x3", "y2"]);
    });

    test("[P-5.10] of several consumers too", async () => {
      await using subject = await opened(kind);
      const peers = [subject.consume("a", 5), subject.consume("a", 5)];
      await fill(subject, "x1 x2 x3 y1");
      await subject.quiet();
      expect(peers.flatMap(({ ids }) => ids).sort()).toEqual(["x1", "y1"]);
    });

    test("[P-5.10] a key goes in the order of entering whatever the priority, at its oldest's place", async () => {
      await using subject = await opened(kind, { priorityAgeingMs: 0 });
      await fill(subject, "x1", 2);
      await fill(subject, "x2", 9);
      await fill(subject, "y1", 5);
      await fill(subject, "x3", 0);
      expect(await oneByOne(subject, subject.consume("a"))).toBe("y1 x1 x2 x3");
    });

    test("[P-5.10] also where the older ones are far away on disk", async () => {
      await using subject = await opened(kind, { priorityAgeingMs: 0 }, true);
      await fill(subject, sameKey(20, "y"), 5);
      await fill(subject, "x1 z1", 5);
      await fill(subject, "x2", 9);
      await fill(subject, "w1", 9);
      await fill(subject, "z2", 0);
      const ids = (await oneByOne(subject, subject.consume("a"))).split(" ");
      expect(ids[0]).toBe("w1");
      expect(ids.filter((id) => id.startsWith("x"))).toEqual(["x1", "x2"]);
      expect(ids.filter((id) => id.startsWith("y")).join(" ")).toBe(sameKey(20, "y"));
      expect(ids.at(-1)).toBe("z2");
      expect(ids.length).toBe(25);
    });

    test("[P-5.10] keys take turns: a hot one goes behind the others", async () => {
      await using subject = await opened(kind);
      await fill(subject, "h1 h2 h3 h4 h5 x1 y1 x2 -1");
      expect(await oneByOne(subject, subject.consume("a"))).toBe("h1 x1 y1 -1 h2 x2 h3 h4 h5");
    });

    test("[P-5.10, P-5.11] a key that had its turn goes behind what is still on disk, however old", async () => {
      await using subject = await opened(kind, { priorityAgeingMs: 1000 }, true);
      await fill(subject, "x1 x2 -1 -2 -3");
      subject.clock.advance(5000);
      await fill(subject, "y1");
      const peer = subject.consume("a", 1);
      await peer.has(1);
      peer.consumer.credit(0);
      await peer.ack(tagOf(peer, "x1"));
      await subject.quiet();
      peer.consumer.credit(10);
      await peer.has(6);
      expect(peer.ids.join(" ")).toBe("x1 -1 -2 -3 y1 x2");
    });

    test("[P-5.10] turns go on from one pull to the next, and begin anew after a second", async () => {
      await using subject = await opened(kind, {}, true);
      await fill(subject, `${sameKey(12, "h")} x1 y1 -1 x2`);
      const pull = async () => {
        const peer = subject.consume("a", 1);
        const { tag, message } = await peer.next();
        peer.consumer.credit(0);
        await peer.ack(tag);
        peer.consumer.cancel();
        await subject.quiet();
        return message.id;
      };
      const pulled: string[] = [];
      for (let i = 0; i < 7; i++) {
        pulled.push(await pull());
        subject.clock.advance(999);
        await subject.quiet();
      }
      expect(pulled.join(" ")).toBe("h000 x1 y1 -1 h001 x2 h002");
      await fill(subject, "z1");
      subject.clock.advance(1);
      await subject.quiet();
      expect([await pull(), await pull()]).toEqual(["h003", "z1"]);
    });

    test("[P-5.10, P-5.18] the age of the oldest is that of the first of its key, or of what is out", async () => {
      await using subject = await opened(kind, {}, true);
      const start = subject.clock.now();
      const entered = async (ids: string) => {
        await fill(subject, ids);
        subject.clock.advance(100);
      };
      const oldest = async () => {
        await subject.quiet();
        const { oldestTime } = subject.engine.queues.describe("a");
        return oldestTime === undefined ? undefined : oldestTime - start;
      };
      for (const ids of ["x1", "x2", "y1", "x3 x4", "x5 -1", "y2"]) await entered(ids);
      const peer = subject.consume("a", 1);
      expect(await oldest()).toBe(0);
      for (const [id, then] of [
        ["x1", 100],
        ["y1", 100],
        ["-1", 100],
        ["x2", 300],
        ["y2", 300],
      ] as const) {
        await peer.has(peer.ids.indexOf(id) + 1);
        await peer.ack(tagOf(peer, id));
        expect([id, await oldest()]).toEqual([id, then]);
      }
      // Those behind one that waits for its retry count no more than that.
      await peer.nack(tagOf(peer, "x3"));
      expect(await oldest()).toBe(undefined);
      subject.clock.advance(1000);
      expect(await oldest()).toBe(300);
      peer.consumer.credit(10);
      for (const id of ["x3", "x4", "x5"]) {
        await subject.quiet();
        await peer.ack(tagOf(peer, id));
      }
      expect(await oldest()).toBe(undefined);
    });

    test("[P-5.10] a key whose messages expired is at its place on disk like any other", async () => {
      await using subject = await opened(kind, { ttlMs: 1000 }, true);
      const peer = subject.consume("a");
      await fill(subject, "y1 y2 y3");
      subject.clock.advance(500);
      await fill(subject, "-1 -2 -3 -4 y4 -5");
      await subject.quiet();
      subject.clock.advance(500);
      await subject.quiet();
      expect(subject.states("a.dead")).toEqual([3, 0, 0]);
      peer.consumer.credit(10);
      await peer.has(6);
      expect(peer.ids.join(" ")).toBe("-1 -2 -3 -4 y4 -5");
    });

    test("[P-5.10] a hot key whose backlog is far larger than memory starves nobody", async () => {
      await using subject = await opened(kind, {}, true);
      await fill(subject, sameKey(60, "h"));
      await fill(subject, "x1 y1 -1");
      await fill(subject, sameKey(60, "h", 60));
      await fill(subject, "z1");
      const peer = subject.consume("a", 5);
      await peer.has(5);
      await subject.quiet();
      expect(peer.ids.join(" ")).toBe("h000 x1 y1 -1 z1");
      // Whatever comes later finds its way past it too.
      await fill(subject, "w1");
      peer.consumer.credit(6);
      await peer.has(6);
      expect(peer.ids.at(-1)).toBe("w1");
      peer.consumer.cancel();
      const next = subject.consume("a");
      const ids = (await oneByOne(subject, next)).split(" ");
      expect(ids.filter((id) => id.startsWith("h")).join(" ")).toBe(sameKey(120, "h"));
      expect(ids.length).toBe(125);
      expect(subject.states("a")).toEqual([0, 0, 0]);
    });

    test("[P-5.10] many keys over a small window: each in its order, each message once", async () => {
      await using subject = await opened(kind, {}, true);
      const keys = [..."abcdefghijklmnop"];
      const ids = Array.from({ length: 8 }, (_, i) => keys.map((key) => `${key}${i}`)).flat();
      for (const [i, id] of ids.entries()) await fill(subject, id, (i * 7) % 10);
      const peers = [3, 1, 20].map((credit) => subject.consume("a", credit));
      const out = new Set<string>();
      const seen: string[] = [];
      for (const peer of peers) {
        peer.onDeliver = ({ tag, message: { id, key } }) => {
          expect(out.has(key!)).toBe(false);
          out.add(key!);
          seen.push(id);
          setImmediate(() => {
            out.delete(key!);
            peer.consumer.settle([tag], { kind: "ack" });
          });
        };
      }
      while (subject.states("a").some((count) => count > 0)) await subject.quiet();
      expect(seen.toSorted()).toEqual(ids.toSorted());
      for (const key of keys) {
        expect(seen.filter((id) => id.startsWith(key))).toEqual(
          ids.filter((id) => id.startsWith(key)),
        );
      }
    });
  });
}
