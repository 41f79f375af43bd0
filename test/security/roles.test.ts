/** Roles that change under those who have them, and the forms that everyone of a role shares [P-13.1]. */
import { describe, expect, test } from "bun:test";
import type { Grant } from "../../src/broker/access.ts";
import { GrantsFault, type Holder, RoleBook } from "../../src/broker/roles.ts";
import { BoundedRights } from "../../src/security/bounded-rights.ts";

const publish = (topic: string): Grant => ({ allow: ["publish"], on: [topic] });
const holder = (roles: readonly string[], more: Partial<Holder> = {}): Holder => ({
  roles,
  grants: undefined,
  source: { kind: "token" },
  variables: { principal: "p" },
  ...more,
});
const book = () =>
  new RoleBook({
    reader: { grants: [{ allow: ["subscribe"], on: ["#"] }] },
    device: { grants: [publish("d/{client}")] },
  });

describe("[P-13.1] rights follow the roles", () => {
  test("a role that comes, changes and goes", () => {
    const roles = book();
    const rights = roles.rightsFor(holder(["later"]));
    const versions = [rights.version];
    expect(rights.mayPublish("a")).toBe(false);
    roles.learn("later", { grants: [publish("a")] });
    versions.push(rights.version);
    expect(rights.mayPublish("a")).toBe(true);
    roles.learn("later", { grants: [publish("b")] });
    expect(rights.mayPublish("a")).toBe(false);
    expect(rights.mayPublish("b")).toBe(true);
    roles.learn("later", undefined);
    expect(rights.mayPublish("b")).toBe(false);
    versions.push(rights.version);
    expect(new Set(versions).size).toBe(3);
  });

  test("[P-14.1] only those that answer the same have the same version", () => {
    const roles = book();
    const as = (role: string, client?: string) =>
      roles.rightsFor(holder([role], { variables: { principal: "p", client } }));
    const rights = [
      ...[as("reader"), as("device", "a"), as("device", "b"), as("device")],
      new BoundedRights(as("device", "a"), as("reader")),
      new BoundedRights(as("reader"), as("device", "a")),
    ];
    const versions = new Set(rights.map(({ version }) => version));
    expect(versions.size).toBe(rights.length);
    expect(as("reader").version).toBe(rights[0]!.version);
    expect(as("device", "c").version).toBe(as("device", "c").version);
    roles.changed();
    for (const { version } of rights) expect(versions).not.toContain(version);
    expect(rights[4]!.version).toBe(rights[4]!.version);
  });

  test("with the variables that a role comes to ask for", () => {
    const roles = book();
    const claims = { tenant: "acme", admin: true, grants: [], number: 7 };
    const rights = roles.rightsFor(
      holder(["later"], { variables: { principal: "p", client: "c", claims } }),
    );
    roles.learn("later", {
      grants: [publish("{principal}/{client}/{claims.tenant}/{claims.number}")],
    });
    expect(rights.mayPublish("p/c/acme/7")).toBe(true);
  });

  test("listeners are told of each change", () => {
    const roles = book();
    let told = 0;
    roles.onChange(() => told++);
    roles.learn("a", { grants: [] });
    roles.learn("a", undefined);
    expect(told).toBe(2);
  });

  test("[P-13.8] a role of the settings wins over a stored one", () => {
    const roles = book();
    roles.learn("reader", { grants: [publish("a")] });
    const rights = roles.rightsFor(holder(["reader"]));
    expect(rights.mayPublish("a")).toBe(false);
    expect(rights.maySubscribe("a")).toBe(true);
    expect(roles.list().map(({ name, origin }) => [name, origin])).toEqual([
      ["device", "settings"],
      ["reader", "settings"],
    ]);
  });

  test("grants that are none are refused with their place", () => {
    const bad = holder([], { grants: [{ allow: ["fly"], on: ["a"] }] });
    expect(() => book().rightsFor(bad)).toThrow(GrantsFault);
  });
});

describe("[P-13.1] what is compiled is shared", () => {
  test("by everyone with the same roles and no variables", () => {
    const roles = book();
    const one = roles.planned(holder(["reader"]));
    expect(roles.planned(holder(["reader", "unknown"], { source: { kind: "anonymous" } }))).toBe(
      one,
    );
    expect(roles.planned(holder(["device"]))).not.toBe(one);
  });

  test("and bounded: what was forgotten is made again", () => {
    const roles = book();
    const of = (topic: string) => roles.planned(holder([], { grants: [publish(topic)] }));
    const first = of("t/0");
    const kept = of("t/1");
    for (let i = 2; i < 1024; i++) of(`t/${i}`);
    expect(of("t/1")).toBe(kept);
    of("t/new");
    expect(of("t/0")).not.toBe(first);
    expect(of("t/0").mayPublish("t/0")).toBe(true);
    expect(of("t/1")).toBe(kept);
  });
});

test("[P-14.9, P-13.1] what everyone may do is asked for with rights, not with each change", () => {
  const book = new RoleBook();
  let asked = 0;
  book.grantEveryone(() => {
    asked++;
    return [
      { source: { kind: "channel", name: "c" }, grants: [{ allow: ["publish"], on: ["c"] }] },
    ];
  });
  // At a start each of very many channels is a change.
  for (let n = 0; n < 1000; n++) book.changed();
  expect(asked).toBe(0);
  const source = { kind: "token" } as const;
  const rights = book.rightsFor({ roles: [], grants: [], source, variables: { principal: "ada" } });
  expect([rights.mayPublish("c"), rights.mayPublish("c/d")]).toEqual([true, false]);
  expect(asked).toBe(1);
});
