/** Changes of rules against trying everything that anybody could come by through them [P-14.14]. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { compilePlan, type Grant, type Rights, type Variables } from "../../src/broker/access.ts";
import { firstExcessOfChange, holds } from "../../src/broker/containment.ts";
import { fuzzSeeds } from "../harness/seeded-random.ts";

const TOPICS = ["a", "a/a", "a/b", "a/z", "b", "b/a", "b/a/a", "b/b", "z/a", "$s", "$s/a", "$v/a"];
const QUEUES = ["a", "b", "z"];
/** Who has them all has more than each of them. */
const AREAS = ["a", "b", "z", "#"];
const FACTS = [
  { payloadBytes: 5, retain: true, queues: true },
  { payloadBytes: 5, retain: false, queues: false },
  { payloadBytes: 50, retain: true, queues: true },
  { payloadBytes: 50, retain: false, queues: true },
  { payloadBytes: 500, retain: true, queues: false },
];

/** Everything that somebody may do, as words. */
function everythingOf(rights: Rights): Set<string> {
  const all = new Set<string>();
  for (const topic of TOPICS) {
    const terms = rights.publishTerms(topic);
    FACTS.forEach((facts, at) => {
      if (terms?.allowing(facts) !== undefined) all.add(`publish ${topic} ${at}`);
    });
    for (const action of ["subscribe", "presence", "history"] as const) {
      if (rights.may(action, topic)) all.add(`${action} ${topic}`);
    }
  }
  for (const queue of QUEUES) if (rights.mayConsume(queue)) all.add(`consume ${queue}`);
  for (const area of AREAS) if (rights.may("admin", area)) all.add(`admin ${area}`);
  return all;
}

/** What an editor has, with what it brings to administrate everything. */
function heldBy(editor: Rights): (what: string) => boolean {
  const own = everythingOf(editor);
  return (what) => {
    const [action, on] = what.split(" ") as [Parameters<typeof holds>[1], string];
    return own.has(what) || (editor.may("admin", "#") && holds(editor, action, on));
  };
}

const level = fc.constantFrom("a", "b", "+", "{principal}", "{client}", "{claims.t}", "$s");
const filter = fc
  .tuple(fc.array(level, { maxLength: 3 }), fc.boolean())
  .map(([levels, open]) => (open ? [...levels, "#"] : levels).join("/"))
  .filter((text) => text !== "");
const on = fc.array(filter, { minLength: 1, maxLength: 2 });
const ACTIONS = ["publish", "subscribe", "consume", "presence", "history", "admin"] as const;
const conditions = fc.record(
  {
    retain: fc.constant(false),
    queues: fc.constant(false),
    maxPayloadBytes: fc.constantFrom(10, 100),
  },
  { requiredKeys: [] },
);
const allow = fc
  .tuple(fc.subarray([...ACTIONS], { minLength: 1 }), on, fc.option(conditions))
  .map(([actions, filters, under]) => ({
    allow: actions,
    on: filters,
    ...(actions.includes("publish") && under),
  }));
const deny = fc.record({
  deny: fc.subarray([...ACTIONS, "receive" as const], { minLength: 1, maxLength: 3 }),
  on,
});
const grants = (max: number): fc.Arbitrary<Grant[]> =>
  fc.array(fc.oneof(allow, allow, deny), { maxLength: max });

const WIDE: Grant[] = [{ allow: ACTIONS, on: ["#", "$s/#", "$v/#"] }];
/** Whose rules change; of some, variables have no value or one that begins with `$`. */
const HOLDERS: Variables[] = [
  { principal: "a", client: "b", claims: { t: "z" } },
  { principal: "z" },
  { principal: "$s", client: "$v", claims: { t: "a" } },
];

const rightsOf = (rules: readonly Grant[], variables: Variables) =>
  compilePlan(rules).rightsFor(variables);

/** Some of the rules stay, some go, some come, some of the editor's own are given. */
const change = fc
  .tuple(grants(3), grants(2), grants(4), fc.infiniteStream(fc.boolean()))
  .map(([before, added, own, chance]) => {
    const some = (rules: readonly Grant[]) => rules.filter(() => chance.next().value);
    return { before, after: [...some(before), ...some(own), ...some(added)], own };
  });

const seed = fuzzSeeds(1)[0]!;
const numRuns = Number(Bun.env.CONTAINMENT_RUNS ?? 3000);

describe(`[P-14.14] a change that is let through gives nobody more (seed ${seed})`, () => {
  test("than he had before or its editor has, whatever else he has, denials that go included", () => {
    let gained = 0;
    let refused = 0;
    fc.assert(
      fc.property(change, grants(2), ({ before, after, own }, others) => {
        const editor = rightsOf(own, { principal: "b", client: "z" });
        if (firstExcessOfChange(before, after, editor) !== undefined) {
          refused++;
          return;
        }
        const held = heldBy(editor);
        for (const holder of HOLDERS) {
          for (const besides of [[], WIDE, others]) {
            const had = everythingOf(rightsOf([...before, ...besides], holder));
            const has = everythingOf(rightsOf([...after, ...besides], holder));
            for (const what of has) {
              if (had.has(what)) continue;
              gained++;
              if (!held(what)) throw new Error(`${JSON.stringify(holder)} came by ${what}`);
            }
          }
        }
      }),
      { seed, numRuns },
    );
    // It says neither always yes nor always no.
    expect(gained).toBeGreaterThan(0);
    expect(refused).toBeGreaterThan(0);
  }, 60_000);

  test("what stays as it is, and what only takes away, is let through", () => {
    fc.assert(
      fc.property(grants(4), grants(3), grants(2), (before, denials, own) => {
        const editor = rightsOf(own, { principal: "b" });
        const more = denials.filter((rule) => "deny" in rule);
        expect(firstExcessOfChange(before, before, editor)).toBeUndefined();
        expect(firstExcessOfChange(before, [...before, ...more], editor)).toBeUndefined();
        const fewer = before.filter((rule) => "deny" in rule);
        expect(firstExcessOfChange(before, fewer, editor)).toBeUndefined();
      }),
      { seed, numRuns: 1000 },
    );
  });
});

describe("[P-14.14] the rule that exceeds is named", () => {
  const editor = rightsOf(
    [
      { allow: ["publish", "subscribe"], on: ["shop/#"] },
      { allow: ["publish"], on: ["small/#"], maxPayloadBytes: 100 },
    ],
    { principal: "ed" },
  );
  const far: Grant = { allow: ["subscribe"], on: ["shop/a", "bank/#"] };
  const loose: Grant = { allow: ["publish"], on: ["small/a"], maxPayloadBytes: 101 };
  const denial: Grant = { deny: ["publish"], on: ["bank/secret"] };
  const unseen: Grant = { deny: ["receive"], on: ["shop/secret"] };
  const table: [string, Grant[], Grant[], object | undefined][] = [
    ["a filter beyond", [], [far], { action: "subscribe", on: "bank/#", rule: far }],
    ["a looser condition", [], [loose], { action: "publish", on: "small/a", rule: loose }],
    ["a denial that goes", [denial], [], { action: "publish", on: "bank/secret", rule: denial }],
    [
      "a denial that shrinks",
      [{ deny: ["publish"], on: ["bank/#"] }],
      [denial],
      { action: "publish", on: "bank/#" },
    ],
    ["a denial to receive that goes", [unseen], [], { action: "presence", on: "shop/secret" }],
    ["a denial of an area", [{ deny: ["admin"], on: ["keys"] }], [], { action: "admin" }],
    [
      "a variable that may be anybody's name",
      [],
      [{ allow: ["subscribe"], on: ["{principal}/#"] }],
      { on: "{principal}/#" },
    ],
    ["nothing: a denial that grows", [denial], [{ deny: ["publish"], on: ["bank/#"] }], undefined],
    [
      "nothing: a denial in the place of one that keeps more",
      [{ deny: ["subscribe"], on: ["bank/+"] }],
      [{ deny: ["receive"], on: ["bank/#"] }],
      undefined,
    ],
    [
      "a denial of somebody's own name is not kept by a wildcard, since the name may begin with $",
      [{ deny: ["subscribe"], on: ["{principal}/#"] }],
      [{ deny: ["subscribe"], on: ["#"] }],
      { action: "subscribe", on: "{principal}/#" },
    ],
    ["nothing: what it had before", [far], [far], undefined],
    [
      "nothing: a variable below what is had",
      [],
      [{ allow: ["subscribe"], on: ["shop/{client}/#"] }],
      undefined,
    ],
    [
      "nothing: a denial that names no queue denies none, and none goes",
      [{ deny: ["consume"], on: ["jobs/x"] }],
      [],
      undefined,
    ],
    [
      "a denial of a queue is not kept by a filter that names no queue",
      [{ deny: ["consume"], on: ["jobs"] }],
      [{ deny: ["consume"], on: ["jobs/#"] }],
      { action: "consume", on: "jobs" },
    ],
  ];
  for (const [what, before, after, excess] of table) {
    test(what, () => {
      const found = firstExcessOfChange(before, after, editor);
      if (excess === undefined) expect(found).toBeUndefined();
      else expect(found).toMatchObject(excess);
    });
  }

  test("a denial of one area may be all that keeps somebody from administrating everything", () => {
    const clerk = rightsOf([{ allow: ["admin"], on: ["keys", "roles"] }], { principal: "clerk" });
    const kept: Grant[] = [{ deny: ["admin"], on: ["keys"] }];
    expect(firstExcessOfChange(kept, [], clerk)).toMatchObject({ action: "admin", on: "keys" });
    expect(firstExcessOfChange([], [{ allow: ["admin"], on: ["keys"] }], clerk)).toBeUndefined();
  });

  test("who administrates everything gives everything, save what he is denied", () => {
    const all: Grant = { allow: ["admin"], on: ["#"] };
    const operator = rightsOf([all], { principal: "root" });
    const bounded = rightsOf([all, { deny: ["publish"], on: ["bank/#"] }], { principal: "root" });
    const wide: Grant[] = [{ allow: ["publish"], on: ["#"] }];
    expect(firstExcessOfChange([], [far, ...wide], operator)).toBeUndefined();
    expect(firstExcessOfChange([denial, unseen], [], operator)).toBeUndefined();
    expect(firstExcessOfChange([], [far], bounded)).toBeUndefined();
    expect(firstExcessOfChange([], wide, bounded)).toMatchObject({ action: "publish", on: "#" });
    expect(firstExcessOfChange([denial], [], bounded)).toMatchObject({ on: "bank/secret" });
  });
});
