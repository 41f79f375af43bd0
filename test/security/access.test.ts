/** What grants allow [P-13.1], decided by the rights that everyone else asks. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  ALLOW_ALL,
  compilePlan,
  compileRights,
  type Grant,
  grantFaults,
  type Variables,
} from "../../src/broker/access.ts";
import { filterContains, filterMatches, filterOverlaps } from "../../src/topic.ts";
import { fuzzSeeds } from "../harness/seeded-random.ts";

const NOBODY: Variables = { principal: "p" };
const rightsOf = (grants: readonly Grant[], variables = NOBODY) => compileRights(grants, variables);

describe("[P-13.1] what no rule allows is denied", () => {
  test("no grants, no rights", () => {
    const rights = rightsOf([]);
    expect(rights.mayPublish("a")).toBe(false);
    expect(rights.maySubscribe("a")).toBe(false);
    expect(rights.mayConsume("jobs")).toBe(false);
    expect(rights.may("admin", "queues")).toBe(false);
    expect(rights.allowsAll).toBe(false);
  });

  test("each action is its own right", () => {
    const actions = ["publish", "subscribe", "consume", "presence", "history", "admin"] as const;
    for (const granted of actions) {
      const rights = rightsOf([{ allow: [granted], on: ["a"] }]);
      for (const asked of actions) expect(rights.may(asked, "a")).toBe(asked === granted);
    }
  });

  test("may() and the named checks say the same", () => {
    const rights = rightsOf([{ allow: ["publish", "subscribe", "consume"], on: ["a", "b/#"] }]);
    for (const on of ["a", "b", "b/c", "c"]) {
      expect(rights.may("publish", on)).toBe(rights.mayPublish(on));
      expect(rights.may("subscribe", on)).toBe(rights.maySubscribe(on));
      expect(rights.may("consume", on)).toBe(rights.mayConsume(on));
    }
  });
});

describe("[P-13.1] an explicit deny wins", () => {
  const rights = rightsOf([
    { deny: ["publish", "subscribe"], on: ["site/+/secret/#"] },
    { allow: ["publish", "subscribe"], on: ["site/#"] },
    { deny: ["publish"], on: ["site/frozen"] },
  ]);

  test("over an allow before or after it", () => {
    expect(rights.mayPublish("site/1/open")).toBe(true);
    expect(rights.mayPublish("site/1/secret")).toBe(false);
    expect(rights.mayPublish("site/1/secret/x")).toBe(false);
    expect(rights.mayPublish("site/frozen")).toBe(false);
    expect(rights.maySubscribe("site/frozen")).toBe(true);
  });

  test("a subscription that shares a topic with a denied filter is refused whole", () => {
    expect(rights.maySubscribe("site/1/open/#")).toBe(true);
    expect(rights.maySubscribe("site/+")).toBe(true);
    expect(rights.maySubscribe("site/1/#")).toBe(false);
    expect(rights.maySubscribe("site/+/+")).toBe(false);
    expect(rights.maySubscribe("site/#")).toBe(false);
  });
});

describe("[P-13.1] a subscription lies inside one granted filter", () => {
  const table: [string, string, boolean][] = [
    ["devices/+/telemetry", "devices/+/telemetry", true],
    ["devices/+/telemetry", "devices/42/telemetry", true],
    ["devices/+/telemetry", "devices/+/+", false],
    ["devices/+/telemetry", "devices/#", false],
    ["devices/#", "devices", true],
    ["devices/#", "devices/+/x/#", true],
    ["devices/#", "+/#", false],
    ["devices/#", "#", false],
    ["#", "#", true],
    ["#", "+/#", true],
    ["+/#", "#", true],
    ["#", "$sys/x", false],
    ["+/x", "$sys/x", false],
    ["$sys/#", "$sys/x", true],
    ["$sys/#", "#", false],
  ];
  for (const [granted, asked, allowed] of table) {
    test(`${granted} ${allowed ? "covers" : "does not cover"} ${asked}`, () => {
      expect(rightsOf([{ allow: ["subscribe"], on: [granted] }]).maySubscribe(asked)).toBe(allowed);
    });
  }

  test("two grants do not add up to a wider one", () => {
    const rights = rightsOf([{ allow: ["subscribe"], on: ["a", "a/+/#"] }]);
    expect(rights.maySubscribe("a/#")).toBe(false);
  });
});

describe("[P-13.1] consume is on queue names", () => {
  test("a name is itself and nothing else", () => {
    const rights = rightsOf([{ allow: ["consume"], on: ["jobs", "a.b:c-d_e"] }]);
    expect(rights.mayConsume("jobs")).toBe(true);
    expect(rights.mayConsume("a.b:c-d_e")).toBe(true);
    expect(rights.mayConsume("jobs2")).toBe(false);
    expect(rights.mayConsume("jobs.dead")).toBe(false);
  });

  for (const any of ["#", "+"]) {
    test(`${any} is any queue, dead letters too`, () => {
      const rights = rightsOf([{ allow: ["consume"], on: [any] }]);
      expect(rights.mayConsume("jobs")).toBe(true);
      expect(rights.mayConsume("jobs.dead")).toBe(true);
    });
  }

  test("a topic filter says nothing about queues", () => {
    expect(rightsOf([{ allow: ["consume"], on: ["jobs/#"] }]).mayConsume("jobs")).toBe(false);
  });

  test("a denied queue stays denied under #", () => {
    const rights = rightsOf([
      { allow: ["consume"], on: ["#"] },
      { deny: ["consume"], on: ["jobs.dead"] },
    ]);
    expect(rights.mayConsume("jobs")).toBe(true);
    expect(rights.mayConsume("jobs.dead")).toBe(false);
  });

  test("a variable may be the whole name", () => {
    const rights = rightsOf([{ allow: ["consume"], on: ["{client}"] }], {
      principal: "p",
      client: "pump-7",
    });
    expect(rights.mayConsume("pump-7")).toBe(true);
    expect(rights.mayConsume("pump-8")).toBe(false);
  });
});

describe("[P-13.1] variables stand for exactly one level", () => {
  const grants: Grant[] = [
    { allow: ["publish"], on: ["devices/{client}/#", "users/{principal}", "t/{claims.tenant}/x"] },
  ];

  test("each has its value", () => {
    const rights = rightsOf(grants, { principal: "ada", client: "d1", claims: { tenant: "acme" } });
    expect(rights.mayPublish("devices/d1/a/b")).toBe(true);
    expect(rights.mayPublish("devices/d2/a")).toBe(false);
    expect(rights.mayPublish("users/ada")).toBe(true);
    expect(rights.mayPublish("users/{principal}")).toBe(false);
    expect(rights.mayPublish("t/acme/x")).toBe(true);
  });

  test("a claim may be an integer", () => {
    const rights = rightsOf(grants, { principal: "p", claims: { tenant: 42 } });
    expect(rights.mayPublish("t/42/x")).toBe(true);
  });

  for (const bad of ["", "a/b", "+", "#", "a+", "a#b", "/"]) {
    test(`the value ${JSON.stringify(bad)} allows nothing`, () => {
      const rights = rightsOf(grants, { principal: bad, client: bad, claims: { tenant: bad } });
      for (const topic of [`devices/${bad}/a`, "devices/a", "devices/x/a", `t/${bad}/x`]) {
        expect(rights.mayPublish(topic)).toBe(false);
      }
      expect(rights.mayPublish(`users/${bad}`)).toBe(false);
      expect(rights.explain("publish", "users/a").reason).toContain("has no value");
    });
  }

  for (const bad of [undefined, null, true, 1.5, {}, ["a"], Number.NaN]) {
    test(`a claim that is ${JSON.stringify(bad)} allows nothing`, () => {
      const rights = rightsOf(grants, { principal: "p", claims: { tenant: bad } });
      expect(rights.mayPublish(`t/${bad}/x`)).toBe(false);
    });
  }

  test("what every object inherits is not a claim", () => {
    const rights = rightsOf([{ allow: ["publish"], on: ["{claims.constructor}"] }], {
      principal: "p",
      claims: {},
    });
    expect(rights.mayPublish(String(Object))).toBe(false);
  });

  test("[P-3.1] a principal named $… does not come by the broker's topics", () => {
    const own: Grant[] = [
      { allow: ["publish", "subscribe"], on: ["{principal}/#", "a/{principal}"] },
    ];
    const rights = rightsOf(own, { principal: "$inbox" });
    expect(rights.maySubscribe("$inbox/#")).toBe(false);
    expect(rights.mayPublish("$inbox/1")).toBe(false);
    expect(rights.mayPublish("a/$inbox")).toBe(true);
  });

  test("a deny whose variable has no value denies every value", () => {
    const rights = rightsOf([
      { allow: ["subscribe"], on: ["t/#"] },
      { deny: ["subscribe"], on: ["t/{claims.tenant}/hidden"] },
    ]);
    expect(rights.maySubscribe("t/acme/open")).toBe(true);
    expect(rights.maySubscribe("t/acme/hidden")).toBe(false);
    expect(rights.maySubscribe("t/+/hidden")).toBe(false);
  });

  test("without variables everyone shares one object; with them one plan serves all", () => {
    const same = compilePlan([{ allow: ["publish"], on: ["a"] }]);
    expect(same.rightsFor({ principal: "x" })).toBe(same.rightsFor({ principal: "y" }));
    const own = compilePlan([{ allow: ["publish"], on: ["{principal}"] }]);
    expect(own.rightsFor({ principal: "x" }).mayPublish("x")).toBe(true);
    expect(own.rightsFor({ principal: "y" }).mayPublish("x")).toBe(false);
  });
});

describe("[P-13.1] everything", () => {
  test("ALLOW_ALL allows all but $ topics", () => {
    expect(ALLOW_ALL.allowsAll).toBe(true);
    expect(ALLOW_ALL.mayPublish("any/thing")).toBe(true);
    expect(ALLOW_ALL.maySubscribe("#")).toBe(true);
    expect(ALLOW_ALL.mayConsume("jobs.dead")).toBe(true);
    expect(ALLOW_ALL.may("admin", "queues")).toBe(true);
    expect(ALLOW_ALL.maySubscribe("$inbox/#")).toBe(false);
  });

  test("allowsAll is only for every action, without any denial", () => {
    const all = ["publish", "subscribe", "consume", "presence", "history", "admin"] as const;
    expect(rightsOf([{ allow: all, on: ["#"] }]).allowsAll).toBe(true);
    expect(rightsOf([{ allow: all.slice(1), on: ["#"] }]).allowsAll).toBe(false);
    expect(rightsOf([{ allow: all, on: ["+"] }]).allowsAll).toBe(false);
    expect(rightsOf([{ allow: all, on: ["+/#"] }]).allowsAll).toBe(false);
    expect(rightsOf([{ allow: all, on: ["+", "+/#"] }]).allowsAll).toBe(true);
    expect(
      rightsOf([
        { allow: all, on: ["#"] },
        { deny: ["admin"], on: ["x"] },
      ]).allowsAll,
    ).toBe(false);
  });
});

describe("[P-13.4] explain names the rule that decided", () => {
  const allow: Grant = { allow: ["publish", "subscribe"], on: ["devices/{client}/#"] };
  const deny: Grant = { deny: ["publish"], on: ["devices/+/locked"] };
  const rights = rightsOf([allow, deny], { principal: "p", client: "d1" });
  const table: [
    string,
    "publish" | "subscribe" | "consume",
    string,
    boolean,
    Grant | undefined,
    RegExp,
  ][] = [
    [
      "allowed",
      "publish",
      "devices/d1/x",
      true,
      allow,
      /devices\/\{client\}\/#.*devices\/d1\/#.*allows/,
    ],
    ["denied", "publish", "devices/d1/locked", false, deny, /devices\/\+\/locked denies/],
    [
      "too wide",
      "subscribe",
      "devices/#",
      false,
      undefined,
      /reaches beyond the grant on devices\/d1\/#/,
    ],
    ["elsewhere", "subscribe", "other", false, undefined, /No grant allows subscribe on other/],
    ["no such action", "consume", "jobs", false, undefined, /No grant allows consume on anything/],
    ["broker's", "publish", "$sys/x", false, undefined, /wildcards do not cover \$ topics/],
  ];
  for (const [name, action, on, allowed, rule, reason] of table) {
    test(name, () => {
      const said = rights.explain(action, on);
      expect(said.allowed).toBe(allowed);
      expect(said.rule).toEqual(rule);
      expect(said.reason).toMatch(reason);
    });
  }
});

describe("[P-13.1] faults in grants are named by their place", () => {
  const table: [string, unknown, string, RegExp][] = [
    ["not a list", {}, "/g", /array/],
    ["too many", Array(257).fill({ allow: ["publish"], on: ["a"] }), "/g", /at most 256/],
    ["not an object", ["publish"], "/g/0", /must be \{allow/],
    ["both", [{ allow: ["publish"], deny: ["publish"], on: ["a"] }], "/g/0", /not both/],
    ["neither", [{ on: ["a"] }], "/g/0/allow", /required/],
    ["no filter", [{ allow: ["publish"], on: [] }], "/g/0/on", /greater or equal to 1/],
    ["too many filters", [{ deny: ["publish"], on: Array(257).fill("a") }], "/g/0/on", /256/],
    [
      "unknown action",
      [{ deny: ["fly"], on: ["a"] }],
      "/g/0/deny/0",
      /^must be one of publish, .* receive$/,
    ],
    ["unknown field", [{ allow: ["publish"], on: ["a"], if: 1 }], "/g/0/if", /Unexpected/],
    ["bad filter", [{ allow: ["publish"], on: ["a", "a/#/b"] }], "/g/0/on/1", /# before/],
    ["part of a level", [{ allow: ["publish"], on: ["x-{client}"] }], "/g/0/on/0", /whole level/],
    ["unknown variable", [{ allow: ["publish"], on: ["{jti}"] }], "/g/0/on/0", /whole level/],
    ["claim with dots", [{ allow: ["publish"], on: ["{claims.a.b}"] }], "/g/0/on/0", /whole level/],
  ];
  for (const [name, grants, pointer, message] of table) {
    test(name, () => {
      const [fault, ...more] = grantFaults(grants, "/g");
      expect(fault?.pointer).toBe(pointer);
      expect(fault?.message).toMatch(message);
      expect(more).toEqual([]);
    });
  }

  test("good ones have none", () => {
    const on = ["#", "+/{principal}/#", "{claims.tenant-id}", "$sys/#", "jobs.dead"];
    expect(grantFaults([{ allow: ["admin", "consume"], on }], "")).toEqual([]);
  });
});

test("[P-13.1] rights are what the rules say, for any grants", () => {
  const part = fc.constantFrom("a", "b", "+", "$s");
  const filter = fc
    .tuple(fc.array(part, { minLength: 1, maxLength: 3 }), fc.boolean())
    .map(([parts, hash]) => (hash ? [...parts, "#"] : parts).join("/"));
  const actions = fc.subarray(["publish", "subscribe"] as const, { minLength: 1 });
  const on = fc.array(filter, { minLength: 1, maxLength: 3 });
  const grant: fc.Arbitrary<Grant> = fc.oneof(
    fc.record({ allow: actions, on }),
    fc.record({ deny: actions, on }),
  );
  const [seed = 1] = fuzzSeeds(1);
  fc.assert(
    fc.property(fc.array(grant, { maxLength: 5 }), filter, (grants, asked) => {
      const rights = rightsOf(grants);
      const allowing = (action: "publish" | "subscribe") =>
        grants.flatMap((one) => ("allow" in one && one.allow.includes(action) ? one.on : []));
      const denying = (action: "publish" | "subscribe") =>
        grants.flatMap((one) => ("deny" in one && one.deny.includes(action) ? one.on : []));
      expect(rights.maySubscribe(asked)).toBe(
        allowing("subscribe").some((outer) => filterContains(outer, asked)) &&
          !denying("subscribe").some((other) => filterOverlaps(other, asked)),
      );
      expect(rights.explain("subscribe", asked).allowed).toBe(rights.maySubscribe(asked));
      const topic = asked.replaceAll(/[+#]/g, "b");
      expect(rights.mayPublish(topic)).toBe(
        allowing("publish").some((one) => filterMatches(one, topic)) &&
          !denying("publish").some((one) => filterMatches(one, topic)),
      );
    }),
    { seed, numRuns: 2000 },
  );
});
