/**
 * From a credential to a principal [P-1.3]: tokens [P-13.1], API keys [P-13.2], or anonymous where that
 * is allowed. Whatever cannot be verified is refused; it never falls back to anonymous.
 */
import type { KeySettings, RoleSettings, VerifiedClaims } from "../../schemas/access.ts";
import {
  ALLOW_ALL,
  compilePlan,
  type Fault,
  type Grant,
  grantFaults,
  type Plan,
  type Principal,
} from "../broker/access.ts";
import type { Clock } from "../clock.ts";
import { WarrenError } from "../errors.ts";
import { createKeyRing, type KeyRing, looksLikeKey } from "./keys.ts";
import { claimFault, createTokenVerifier, type TokenVerifier } from "./tokens.ts";

/** Decides who a connection is. */
export interface Authenticator {
  /**
   * The principal of a credential, a JWT or an API key; undefined stands for no credential. Rejects with
   * `unauthenticated` or `token_expired`.
   */
  authenticate(credential: string | undefined, peer: { address: string }): Promise<Principal>;
  /** Whether a connection without a credential is let in, or has to send `auth` in time [P-1.3]. */
  readonly anonymousAllowed: boolean;
}

export interface AuthenticatorConfig {
  /** The secret of HS256 tokens; without it no token is accepted. */
  readonly jwtSecret?: string | undefined;
  readonly issuer?: string | undefined;
  readonly audience?: string | undefined;
  /** How far the issuer's clock may be off; the verifier's own default when absent. */
  readonly clockToleranceMs?: number | undefined;
  readonly roles: Readonly<Record<string, RoleSettings>>;
  readonly keys: readonly KeySettings[];
  /** What a connection without a credential may do; undefined lets none in. */
  readonly anonymous: { readonly grants: readonly Grant[] } | undefined;
  readonly clock: Clock;
}

const ANONYMOUS = "anonymous";
/** Different sets of roles and grants whose compiled form is kept; the one unused longest goes first. */
const PLANS_KEPT = 1024;

/**
 * Throws an Error that lists every fault in roles, keys and grants by its place. With neither a secret
 * nor keys nor anonymous grants the broker is open: everyone is `anonymous` and may do everything, so
 * `assertSafeToListen` must be asked where it may listen.
 */
export function createAuthenticator(config: AuthenticatorConfig): Authenticator {
  const faults = configFaults(config);
  if (faults.length > 0) {
    const list = faults.map(({ pointer, message }) => `${pointer}: ${message}`).join("\n");
    throw new Error(`Access is not configured rightly.\n${list}`);
  }
  return hasCredentials(config) || config.anonymous !== undefined
    ? new ConfiguredAuthenticator(config)
    : OPEN;
}

/** Whether anyone could be told apart by a credential. */
export function hasCredentials(config: Pick<AuthenticatorConfig, "jwtSecret" | "keys">): boolean {
  return config.jwtSecret !== undefined || config.keys.length > 0;
}

const EVERYONE: Principal = { name: ANONYMOUS, rights: ALLOW_ALL };
const OPEN: Authenticator = {
  anonymousAllowed: true,
  authenticate: () => Promise.resolve(EVERYONE),
};

class ConfiguredAuthenticator implements Authenticator {
  readonly #tokens: TokenVerifier | undefined;
  readonly #keys: KeyRing;
  readonly #plans: PlanCache;
  readonly #anonymous: Principal | undefined;
  readonly #clock: Clock;

  constructor(config: AuthenticatorConfig) {
    const { jwtSecret, issuer, audience, clockToleranceMs, clock } = config;
    this.#clock = clock;
    this.#tokens =
      jwtSecret === undefined
        ? undefined
        : createTokenVerifier({ secret: jwtSecret, issuer, audience, clockToleranceMs, clock });
    this.#keys = createKeyRing(config.keys);
    this.#plans = new PlanCache(config.roles);
    this.#anonymous = config.anonymous && {
      name: ANONYMOUS,
      rights: compilePlan(config.anonymous.grants).rightsFor({ principal: ANONYMOUS }),
    };
  }

  get anonymousAllowed(): boolean {
    return this.#anonymous !== undefined;
  }

  async authenticate(credential: string | undefined): Promise<Principal> {
    if (credential === undefined) {
      if (this.#anonymous !== undefined) return this.#anonymous;
      throw new WarrenError("unauthenticated", "A credential is needed: a token or an API key.");
    }
    if (credential === "") throw new WarrenError("unauthenticated", "The credential is empty.");
    if (looksLikeKey(credential)) return this.#byKey(credential);
    if (this.#tokens === undefined) {
      throw new WarrenError("unauthenticated", "This broker takes API keys only.");
    }
    return this.#byClaims(await this.#tokens.verify(credential));
  }

  #byKey(key: string): Principal {
    const entry = this.#keys.find(key);
    if (entry === undefined) throw new WarrenError("unauthenticated", "The API key is not valid.");
    const { principal: name, expiresAt } = entry;
    if (expiresAt !== undefined && expiresAt <= this.#clock.now()) {
      throw new WarrenError("token_expired", "The API key has expired.");
    }
    const rights = this.#plans.of(entry.roles, entry.grants).rightsFor({ principal: name });
    return { name, rights, ...(expiresAt !== undefined && { expiresAt }) };
  }

  #byClaims(claims: VerifiedClaims): Principal {
    const { sub: name, client, exp } = claims;
    const plan = this.#plans.of(claims.roles, claims.grants);
    return {
      name,
      rights: plan.rightsFor({ principal: name, client, claims }),
      ...(client !== undefined && { client }),
      // The token's own word: a clock tolerance lets a connection in, it does not make it last.
      ...(exp !== undefined && { expiresAt: Math.floor(exp * 1000) }),
    };
  }
}

/** Compiled grants by what they were made from, so that connections of one role share them. */
class PlanCache {
  readonly #roles: ReadonlyMap<string, readonly Grant[]>;
  readonly #plans = new Map<string, Plan>();

  constructor(roles: AuthenticatorConfig["roles"]) {
    this.#roles = new Map(Object.entries(roles).map(([name, role]) => [name, role.grants]));
  }

  /** `grants` may be anything, as a token brings it: `unauthenticated` when it is not grants. */
  of(roleNames: readonly string[] | undefined, grants: unknown): Plan {
    // A role that is not configured gives nothing, and must not make a key of its own.
    const roles = (roleNames ?? []).filter((name) => this.#roles.has(name));
    const key = JSON.stringify([roles, grants]);
    const plan = this.#plans.get(key) ?? this.#compile(roles, grants ?? []);
    this.#plans.delete(key);
    this.#plans.set(key, plan);
    if (this.#plans.size > PLANS_KEPT) {
      for (const oldest of this.#plans.keys()) {
        this.#plans.delete(oldest);
        break;
      }
    }
    return plan;
  }

  #compile(roles: readonly string[], grants: unknown): Plan {
    const fault = grantFaults(grants, "/grants")[0];
    if (fault !== undefined) throw claimFault(fault.pointer, fault.message);
    const ofRoles = roles.flatMap((name) => this.#roles.get(name) ?? []);
    return compilePlan([...ofRoles, ...(grants as readonly Grant[])]);
  }
}

function configFaults(config: AuthenticatorConfig): Fault[] {
  const faults = Object.entries(config.roles).flatMap(([name, role]) =>
    grantFaults(role.grants, `/roles/${pointerPart(name)}/grants`),
  );
  const ids = new Set<string>();
  config.keys.forEach(({ id, grants, roles }, index) => {
    faults.push(...grantFaults(grants ?? [], `/keys/${index}/grants`));
    if (ids.has(id)) faults.push({ pointer: `/keys/${index}/id`, message: `repeats "${id}"` });
    ids.add(id);
    roles?.forEach((role, at) => {
      if (Object.hasOwn(config.roles, role)) return;
      const message = `names the role "${role}", which is not configured`;
      faults.push({ pointer: `/keys/${index}/roles/${at}`, message });
    });
  });
  return [...faults, ...grantFaults(config.anonymous?.grants ?? [], "/anonymous/grants")];
}

function pointerPart(name: string): string {
  return name.replaceAll("~", "~0").replaceAll("/", "~1");
}

/**
 * Throws an Error that says what to do when the broker would listen beyond this machine and let anyone
 * in there.
 */
export function assertSafeToListen(plan: {
  readonly host: string;
  readonly hasCredentials: boolean;
  readonly insecure: boolean;
}): void {
  if (plan.hasCredentials || plan.insecure || isLoopback(plan.host)) return;
  throw new Error(
    `Refusing to listen on ${plan.host || "every address"} without credentials: whoever reaches it ` +
      "could read and publish everything. Set WARREN_JWT_SECRET or configure keys, or listen on " +
      "127.0.0.1, or pass --insecure if that is what you want.",
  );
}

function isLoopback(host: string): boolean {
  const bare = host.toLowerCase().replace(/^\[(.*)\]$/, "$1");
  return (
    bare === "localhost" ||
    bare === "::1" ||
    /^(?:::ffff:)?127(?:\.(?:0|[1-9]\d{0,2})){3}$/.test(bare)
  );
}
