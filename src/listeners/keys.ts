/** API keys as operators make, change and revoke them while the broker runs [P-13.2], [P-14.2]. */
import type { KeyBody, KeyView } from "../../schemas/http-keys.ts";
import { grantFaults } from "../broker/access.ts";
import { firstExcess } from "../broker/containment.ts";
import { WarrenError } from "../errors.ts";
import { ANONYMOUS } from "../security/anonymous.ts";
import { type AnyKey, rotated, type StoredKey } from "../security/api-keys.ts";
import { keyHolder } from "../security/authenticator.ts";
import { keyId, looksLikeKey, makeKey } from "../security/keys.ts";
import { audited } from "./audit.ts";
import { beyond } from "./bounds.ts";
import { assertNoFault } from "./roles.ts";
import { type Call, type Handlers, param, type Services } from "./services.ts";

type Operations = "listKeys" | "createKey" | "getKey" | "rotateKey" | "deleteKey";

/** How long the secret until now stays good, where the request does not say. */
const GRACE_MS = 3_600_000;

export const keyHandlers: Handlers<Operations> = {
  async listKeys({ query }, services) {
    const { keys, more } = await services.keys.page(query, services.clock);
    const next = more ? keys.at(-1)?.id : undefined;
    return { keys: keys.map((key) => keyView(key, services)), ...(next && { next }) };
  },

  getKey: (call, services) => keyView(existing(call, services), services),

  createKey(call, services) {
    const { clock } = services;
    const body = call.body as KeyBody;
    assertNoFault(grantFaults(body.grants ?? [], "/grants")[0]);
    const { key: text, id, hash } = unusedKey(services);
    const create = async () => {
      assertMeaningful(body, services);
      const createdAt = clock.now();
      const key: StoredKey = { id, hash, ...body, createdAt, createdBy: call.principal.name };
      assertNotBeyond(key, call, services);
      await store(key, services);
      return { ...keyView(key, services), key: text };
    };
    const { principal, client, roles, grants, expiresAt } = body;
    const given = { principal, client, roles, grants, expiresAt };
    const detail = Object.fromEntries(Object.entries(given).filter(([, value]) => value));
    return audited(call, services, { action: "key.create", on: id }, create, () => ({ detail }));
  },

  rotateKey(call, services) {
    const { keys, clock } = services;
    const id = param(call, "id");
    const graceMs = call.body.graceMs ?? GRACE_MS;
    const rotate = () =>
      keys.changing(id, async () => {
        const before = changeable(call, services);
        // Who gets the secret gets the rights, whoever made the key.
        assertNotBeyond(before, call, services);
        const { key: text, hash } = makeKey(id);
        const key = rotated(before, hash, clock.now(), graceMs);
        await store(key, services);
        return { ...keyView(key, services), key: text };
      });
    const detail = () => ({ detail: { graceMs } });
    return audited(call, services, { action: "key.rotate", on: id }, rotate, detail);
  },

  async deleteKey(call, services) {
    const { keys, keyUse, engine } = services;
    const id = param(call, "id");
    const revoke = () =>
      keys.changing(id, async () => {
        changeable(call, services);
        await engine.records.write([{ collection: "keys", key: id, value: undefined }]);
        keyUse.forget(id);
      });
    await audited(call, services, { action: "key.revoke", on: id }, revoke);
    return undefined;
  },
};

/** A key without what opens anything. */
function keyView(key: AnyKey, { keys, keyUse }: Pick<Services, "keys" | "keyUse">): KeyView {
  const { hash: _hash, older, lastUsedAt: _written, ...shown } = key;
  const lastUsedAt = keyUse.of(key.id);
  return {
    ...(shown as Omit<KeyView, "origin">),
    origin: keys.isOfSettings(key.id) ? "settings" : "stored",
    ...(lastUsedAt !== undefined && { lastUsedAt }),
    ...(older && { olderSecretsUntil: older.map(({ expiresAt }) => expiresAt) }),
  };
}

function store(key: StoredKey, { engine }: Services): Promise<void> {
  return engine.records.write([{ collection: "keys", key: key.id, value: key }]);
}

function unusedKey({ keys }: Services): ReturnType<typeof makeKey> {
  let made = makeKey();
  while (keys.get(made.id) !== undefined) made = makeKey();
  return made;
}

function existing(call: Pick<Call, "params">, { keys }: Services): AnyKey {
  const id = param(call, "id");
  const key = keys.get(id);
  if (key !== undefined) return key;
  if (looksLikeKey(id)) {
    const why = `Give the id of the key alone, ${keyId(id) ?? "what is between wk_ and _"}: the rest is its secret.`;
    throw new WarrenError("invalid_frame", why, { pointer: "/id" });
  }
  throw new WarrenError("not_found", `There is no key ${id}.`, { id });
}

/** Throws `not_found`, or `conflict` for one of the settings. */
function changeable(call: Pick<Call, "params">, services: Services): StoredKey {
  const { id } = existing(call, services);
  const stored = services.keys.stored(id);
  if (stored !== undefined && !services.keys.isOfSettings(id)) return stored;
  const why = `The key ${id} is one of the settings and is changed there.`;
  throw new WarrenError("conflict", why, { id, origin: "settings" });
}

/** Throws `conflict` or `invalid_frame` for a key that would not do what it says. */
function assertMeaningful({ principal, roles = [], expiresAt }: KeyBody, services: Services): void {
  const { authenticator, clock, roles: book } = services;
  if (authenticator.open) {
    const why = "This broker lets everyone in as it is; configure credentials, then make keys.";
    throw new WarrenError("conflict", why);
  }
  if (principal === ANONYMOUS) {
    const why = `Nobody can be given the name "${ANONYMOUS}".`;
    throw new WarrenError("invalid_frame", why, { pointer: "/principal" });
  }
  if (expiresAt !== undefined && expiresAt <= clock.now()) {
    throw new WarrenError("invalid_frame", "The key would have expired already.", {
      pointer: "/expiresAt",
    });
  }
  roles.forEach((name, at) => {
    // Whoever defines it later would decide what this key may do.
    if (book.get(name) !== undefined) return;
    const pointer = `/roles/${at}`;
    throw new WarrenError("invalid_frame", `There is no role ${name}.`, { pointer, role: name });
  });
}

/** Nobody gives, or gets, more than he has. Throws `forbidden`. */
function assertNotBeyond(key: AnyKey, { principal }: Pick<Call, "principal">, services: Services) {
  const excess = firstExcess(services.roles.planned(keyHolder(key)), principal.rights);
  if (excess === undefined) return;
  throw beyond(excess, principal.rights);
}
