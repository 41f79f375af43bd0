/** `pub`, `sub` and `consume` against a real broker [P-13.7]. */
import { describe, expect, test } from "bun:test";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { jsonLines, runCli, startCli } from "../harness/cli.ts";
import { startTestWarren, type TestWarren } from "../harness/warren.ts";

const JOBS = {
  queues: { jobs: { bindings: ["jobs/#"], maxDeliveries: 2, backoff: { minMs: 0, jitter: 0 } } },
};
const at = ({ url }: TestWarren) => ({ env: { WARREN_URL: url } });

async function held(broker: TestWarren, queue = "jobs") {
  return (await broker.json("GET", `/admin/v1/queues/${queue}/messages`)).body.messages;
}

describe("[P-13.7] pub", () => {
  test("[P-13.7] a payload is JSON if it reads as JSON, else text; --text makes it text", async () => {
    await using broker = await startTestWarren(JOBS);
    for (const words of [["21.5"], ['{"a":[1]}'], ["hello you"], ["21.5", "--text"]]) {
      const { code, out, err } = await runCli(["pub", "jobs/a", ...words], at(broker));
      expect([code, err]).toEqual([0, ""]);
      expect(JSON.parse(out)).toMatchObject({ messageId: expect.any(String), queues: 1 });
    }
    expect((await held(broker)).map((message: { payload: unknown }) => message.payload)).toEqual([
      21.5,
      { a: [1] },
      "hello you",
      "21.5",
    ]);
  });

  test("[P-13.7] every line of standard input is a message, in order", async () => {
    await using broker = await startTestWarren(JOBS);
    const lines = Array.from({ length: 300 }, (_, line) => `${line}`).join("\n");
    const { code, out } = await runCli(["pub", "jobs/a"], { ...at(broker), stdin: `${lines}\n` });
    expect(code).toBe(0);
    expect(jsonLines(out)).toHaveLength(300);
    const { body } = await broker.json("GET", "/admin/v1/queues/jobs/messages?limit=1000");
    expect(body.messages.map((message: { payload: unknown }) => message.payload)).toEqual(
      Array.from({ length: 300 }, (_, line) => line),
    );
  });

  test("[P-13.7, P-5.14] --atomic: all lines or none", async () => {
    await using broker = await startTestWarren({
      queues: { jobs: { bindings: ["jobs/#"], maxMessages: 3 } },
    });
    const words = ["pub", "jobs/a", "--atomic", "--key", "k"];
    const full = await runCli(words, { ...at(broker), stdin: "1\n2\n3\n4\n" });
    expect([full.code, full.out]).toEqual([1, ""]);
    expect(full.err).toContain("queue_full: ");
    expect(await held(broker)).toEqual([]);
    const good = await runCli(words, { ...at(broker), stdin: "1\n2\n3\n" });
    expect([good.code, good.err]).toEqual([0, ""]);
    expect(jsonLines(good.out)).toMatchObject([{ queues: 1 }, { queues: 1 }, { queues: 1 }]);
    expect(await held(broker)).toMatchObject([1, 2, 3].map((payload) => ({ payload, key: "k" })));
    const lines = `${new Array(300).fill("1").join("\n")}\n`;
    const many = await runCli(words, { ...at(broker), stdin: lines });
    expect([many.code, many.err]).toEqual([1, "The broker takes 256 at a time, no more.\n"]);
    expect((await runCli([...words, "1"], at(broker))).code).toBe(2);
  });

  test("[P-13.7, P-5.9] says how many messages gave way", async () => {
    await using broker = await startTestWarren({
      queues: { jobs: { bindings: ["jobs/#"], maxMessages: 1, overflow: "drop-oldest" } },
    });
    const { out } = await runCli(["pub", "jobs/a"], { ...at(broker), stdin: "1\n2\n" });
    expect(jsonLines(out)).toMatchObject([{ queues: 1 }, { queues: 1, displaced: 1 }]);
  });

  test("[P-13.7] a file, also one of bytes, and every option", async () => {
    await using broker = await startTestWarren(JOBS);
    const dir = await mkdtemp(join(tmpdir(), "warren-cli-"));
    const file = join(dir, "payload");
    await writeFile(file, Uint8Array.of(255, 254, 0));
    const words = ["--file", file, "--key", "k", "--priority", "8", "--header", "a=b=c"];
    const more = ["--message-id", "m1", "--content-type", "image/x"];
    const { code } = await runCli(["pub", "jobs/a", ...words, ...more], at(broker));
    await rm(dir, { recursive: true });
    expect(code).toBe(0);
    expect((await held(broker))[0]).toMatchObject({
      payload: "//4A",
      payloadEncoding: "base64",
      key: "k",
      priority: 8,
      headers: { a: "b=c" },
      messageId: "m1",
      contentType: "image/x",
    });
  });

  test("[P-13.7] a refusal is exit code 1, with the broker's own sentence", async () => {
    await using broker = await startTestWarren(JOBS);
    const { code, err } = await runCli(["pub", "a/#", "1"], at(broker));
    expect([code, err]).toEqual([1, "invalid_topic: The topic holds + or #.\n"]);
  });

  test("[P-13.7] --token and WARREN_TOKEN; a wrong one says why", async () => {
    const secret = "a secret of more than thirty-two characters";
    await using broker = await startTestWarren({ ...JOBS, jwt: { secret } });
    const env = { WARREN_JWT_SECRET: secret };
    const made = await runCli(["token", "me", "--allow", "publish,subscribe=jobs/#"], { env });
    const token = made.out.trim();
    const good = await runCli(["pub", "jobs/a", "1", "--url", broker.url], {
      env: { WARREN_TOKEN: token },
    });
    expect(good.code).toBe(0);
    const words = ["pub", "jobs/a", "1", "--url", broker.url, "--token", `${token}x`];
    const bad = await runCli(words);
    expect(bad.code).toBe(1);
    expect(bad.err).toContain("unauthenticated: ");
    expect(bad.err).not.toContain(token);
    const denied = await runCli(["pub", "other", "1", "--url", broker.url, "--token", token]);
    expect(denied.err).toContain("forbidden: ");
  });
});

describe("[P-13.7] sub", () => {
  test("[P-13.7] prints events as JSON lines in a pipe, and ends after --count", async () => {
    await using broker = await startTestWarren();
    await using sub = startCli(["sub", "a/#", "b", "--count", "2"], at(broker));
    await sub.printed("subscribed to");
    await runCli(["pub", "a/1", '{"x":1}'], at(broker));
    await runCli(["pub", "c", "2"], at(broker));
    await runCli(["pub", "b", "3"], at(broker));
    expect(await sub.exited).toBe(0);
    expect(jsonLines(sub.out)).toMatchObject([
      { topic: "a/1", payload: { x: 1 } },
      { topic: "b", payload: 3 },
    ]);
  });

  test("[P-13.7, P-4.4] --retain keeps a value, --last begins with what there was", async () => {
    const channels = { c: { filter: "k/#", history: {}, retained: true } };
    await using broker = await startTestWarren({ channels });
    const words = ["pub", "k/a", "--retain"];
    expect(JSON.parse((await runCli([...words, "1"], at(broker))).out)).toMatchObject({
      offset: 1,
    });
    for (const payload of ["2", "3"]) await runCli(["pub", "k/a", payload], at(broker));
    const { out } = await runCli(["sub", "k/a", "--last", "2", "--count", "3"], at(broker));
    expect(jsonLines(out)).toMatchObject([
      { payload: 1, retained: true },
      { payload: 2, offset: 2 },
      { payload: 3, offset: 3 },
    ]);
    await runCli([...words, "null"], at(broker));
    expect((await broker.json("GET", "/v1/retained/k/a")).status).toBe(404);
  });

  test("[P-13.7] Ctrl-C ends it with 0; a broker that ends is 1", async () => {
    await using broker = await startTestWarren();
    await using first = startCli(["sub", "#"], at(broker));
    await first.printed("subscribed to");
    first.kill("SIGINT");
    expect(await first.exited).toBe(0);
    await using second = startCli(["sub", "#"], at(broker));
    await second.printed("subscribed to");
    await broker.warren.stop("test");
    expect(await second.exited).toBe(1);
    expect(second.err).toContain("draining");
    expect(second.err).toContain("1012");
  });
});

describe("[P-13.7] consume", () => {
  test("[P-13.7] prints and acks; --count takes no more than that", async () => {
    await using broker = await startTestWarren(JOBS);
    await runCli(["pub", "jobs/a"], { ...at(broker), stdin: "1\n2\n3\n" });
    const { code, out } = await runCli(["consume", "jobs", "--count", "2"], at(broker));
    expect(code).toBe(0);
    expect(jsonLines(out)).toMatchObject([{ payload: 1 }, { payload: 2, attempt: 1 }]);
    const [left, ...rest] = await held(broker);
    expect(rest).toEqual([]);
    expect(left).toMatchObject({ payload: 3, state: "ready", attempts: 0 });
  });

  test("[P-13.7] --exec acks on exit 0 and nacks on any other, with the message at hand", async () => {
    await using broker = await startTestWarren(JOBS);
    const dir = await mkdtemp(join(tmpdir(), "warren-cli-"));
    const seen = join(dir, "seen");
    await runCli(["pub", "jobs/good", '{"n":1}'], at(broker));
    await runCli(["pub", "jobs/bad", "text"], at(broker));
    const exec = `(cat; echo " $WARREN_TOPIC $WARREN_ATTEMPT") >> ${seen}; [ $WARREN_TOPIC = jobs/good ]`;
    const { code, err } = await runCli(
      ["consume", "jobs", "--count", "3", "--exec", exec],
      at(broker),
    );
    expect(code).toBe(0);
    expect(err).toContain("exit 1, nacked");
    expect(await readFile(seen, "utf8")).toBe(
      '{"n":1} jobs/good 1\ntext jobs/bad 1\ntext jobs/bad 2\n',
    );
    await rm(dir, { recursive: true });
    expect(await held(broker)).toEqual([]);
    const dead = await runCli(["queue", "dead", "jobs"], at(broker));
    expect(jsonLines(dead.out)).toMatchObject([
      { topic: "jobs/bad", deaths: [{ reason: "max_deliveries", attempts: 2, detail: "exit 1" }] },
    ]);
  });
});
