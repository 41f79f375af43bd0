/** Conditions of grants, and what is kept from somebody whatever it holds [P-14.6]. */
import { describe, expect, test } from "bun:test";
import { compileRights, type Grant, grantFaults } from "../../src/broker/access.ts";

const rightsOf = (grants: readonly Grant[]) => compileRights(grants, { principal: "p" });
const PLAIN = { payloadBytes: 10, retain: false, queues: false };

describe("[P-14.6] a grant to publish may have conditions", () => {
  const allow = ["publish"] as const;

  test("a grant without any allows it as it is", () => {
    const terms = rightsOf([{ allow, on: ["a"] }]).publishTerms("a");
    expect(terms?.unconditional).toBe(true);
    expect(terms?.allowing({ payloadBytes: 1e9, retain: true, queues: true })).toEqual({});
  });

  test("true is no condition", () => {
    const rights = rightsOf([{ allow, on: ["a"], retain: true, queues: true }]);
    expect(rights.publishTerms("a")?.unconditional).toBe(true);
  });

  const table: [string, object, object, boolean][] = [
    ["retain:false", { retain: false }, { retain: true }, false],
    ["retain:false, without retain", { retain: false }, {}, true],
    ["queues:false", { queues: false }, { queues: true }, false],
    ["queues:false, live only", { queues: false }, {}, true],
    ["size reached", { maxPayloadBytes: 10 }, {}, true],
    ["size passed", { maxPayloadBytes: 9 }, {}, false],
    ["a rate is for who counts", { maxRatePerSecond: 1 }, {}, true],
  ];
  for (const [name, qualifiers, facts, allowed] of table) {
    test(name, () => {
      const rights = rightsOf([{ allow, on: ["a"], ...qualifiers }]);
      const terms = rights.publishTerms("a");
      expect(rights.mayPublish("a")).toBe(true);
      expect(terms?.allowing({ ...PLAIN, ...facts }) !== undefined).toBe(allowed);
    });
  }

  test("one grant must allow all that it is; two do not lend each other conditions", () => {
    const terms = rightsOf([
      { allow, on: ["a"], maxPayloadBytes: 5 },
      { allow, on: ["+"], queues: false },
    ]).publishTerms("a");
    expect(terms?.allowing({ ...PLAIN, payloadBytes: 5, queues: true })).toBeDefined();
    expect(terms?.allowing({ ...PLAIN, payloadBytes: 9 })).toBeDefined();
    expect(terms?.allowing({ ...PLAIN, payloadBytes: 9, queues: true })).toBeUndefined();
  });

  test("of several that allow it the one with the highest rate counts", () => {
    const terms = rightsOf([
      { allow, on: ["a"], maxRatePerSecond: 5, maxPayloadBytes: 100 },
      { allow, on: ["#"], maxRatePerSecond: 50, maxPayloadBytes: 20 },
    ]).publishTerms("a");
    expect(terms?.allowing(PLAIN)?.maxRatePerSecond).toBe(50);
    expect(terms?.allowing({ ...PLAIN, payloadBytes: 21 })?.maxRatePerSecond).toBe(5);
  });

  test("a grant without conditions beside it sets it free", () => {
    const rights = rightsOf([
      { allow, on: ["a"], maxPayloadBytes: 1 },
      { allow, on: ["#"] },
    ]);
    expect(rights.publishTerms("a")?.unconditional).toBe(true);
  });

  test("a denial wins over any", () => {
    const rights = rightsOf([
      { allow, on: ["a"], maxPayloadBytes: 1 },
      { deny: ["publish"], on: ["#"] },
    ]);
    expect(rights.publishTerms("a")).toBeUndefined();
  });

  test("they speak of publishing only: the other actions of the grant stay as they are", () => {
    const rights = rightsOf([{ allow: ["publish", "subscribe"], on: ["a"], maxPayloadBytes: 1 }]);
    expect(rights.maySubscribe("a")).toBe(true);
  });

  test("the refusal says which condition does not hold", () => {
    const facts = { ...PLAIN, payloadBytes: 11 };
    const terms = rightsOf([{ allow, on: ["a"], maxPayloadBytes: 10 }]).publishTerms("a");
    const { code, message, detail } = terms!.refusal("a", facts);
    expect({ code, message, detail }).toEqual({
      code: "forbidden",
      message: "There is a right to publish here, but not more than 10 bytes of payload.",
      detail: { action: "publish", on: "a", qualifiers: ["maxPayloadBytes"], limit: 10 },
    });
  });

  const faults: [string, object, string, RegExp][] = [
    ["unknown", { allow, on: ["a"], maxBytes: 1 }, "/0/maxBytes", /has allow, on, retain, queues/],
    ["on a denial", { deny: allow, on: ["a"], retain: false }, "/0/retain", /no conditions/],
    ["without publish", { allow: ["subscribe"], on: ["a"], queues: false }, "/0/queues", /publish/],
    ["no number", { allow, on: ["a"], maxPayloadBytes: "1" }, "/0/maxPayloadBytes", /integer/],
    ["no rate", { allow, on: ["a"], maxRatePerSecond: 0 }, "/0/maxRatePerSecond", /greater than 0/],
  ];
  for (const [name, grant, pointer, message] of faults) {
    test(`refused with its place: ${name}`, () => {
      const [fault] = grantFaults([grant], "");
      expect(fault?.pointer).toBe(pointer);
      expect(fault?.message).toMatch(message);
    });
  }
});

describe("[P-14.6] what must not be received is not shown, whatever else is allowed", () => {
  const rights = rightsOf([
    { allow: ["publish", "subscribe", "history", "presence"], on: ["#"] },
    { deny: ["receive"], on: ["+/secret/#"] },
  ]);

  test("a filter that shares a topic with it is refused whole", () => {
    for (const filter of ["#", "a/#", "+/+", "a/secret", "+/secret/x"]) {
      expect(rights.maySubscribe(filter)).toBe(false);
      expect(rights.mayReceive(filter)).toBe(false);
      expect(rights.may("history", filter)).toBe(false);
      expect(rights.may("presence", filter)).toBe(false);
    }
    for (const filter of ["a/open/#", "+"]) expect(rights.maySubscribe(filter)).toBe(true);
  });

  test("publishing is another matter", () => {
    expect(rights.mayPublish("a/secret")).toBe(true);
  });

  test("it says why", () => {
    expect(rights.explain("subscribe", "a/#").reason).toBe(
      "A grant of the token on +/secret/# denies to receive, so subscribe on a/#.",
    );
    expect(rights.explain("receive", "a/secret").allowed).toBe(false);
    expect(rights.explain("receive", "a/open").allowed).toBe(true);
  });

  test("it cannot be allowed, since it is unless it is denied", () => {
    const [fault] = grantFaults([{ allow: ["receive"], on: ["a"] }], "");
    expect(fault?.pointer).toBe("/0/allow/0");
    expect(fault?.message).toMatch(/unless it is denied/);
  });
});
