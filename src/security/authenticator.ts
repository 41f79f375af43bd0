/**
 * From a credential to a principal [P-1.3]: tokens [P-13.1], API keys [P-13.2], or anonymous where that
 * is allowed. Whatever cannot be verified is refused; it never falls back to anonymous.
 */
import type { KeySettings, RoleSettings } from "../../schemas/access.ts";
import type { ClientPrincipal } from "../../schemas/identity.ts";
import type { RoleRates } from "../../schemas/rates.ts";
import {
  ALLOW_ALL,
  type Fault,
  type Grant,
  grantFaults,
  type Principal,
  type Rights,
} from "../broker/access.ts";
import { GrantsFault, type Holder, RoleBook } from "../broker/roles.ts";
import { WarrenError } from "../errors.ts";
import { ANONYMOUS, assertNamed } from "./anonymous.ts";
import { ApiKeys } from "./api-keys.ts";
import { BoundedRights } from "./bounded-rights.ts";
import {
  createIssuers,
  type Issuers,
  type IssuersConfig,
  issuerFaults,
  type Vouched,
} from "./issuers.ts";
import { looksLikeKey } from "./keys.ts";
import type { Revocations } from "./revocations.ts";
import { ratesOf } from "./role-rates.ts";
import { type ClientCertificate, principalOf } from "./tls.ts";
import { claimFault } from "./tokens.ts";

/** A JWT or an API key as text, or a verified client certificate. */
export type Credential = string | ClientCertificate;

/** Whose credential it is. */
export interface Peer {
  readonly address: string;
  /** Asked once more when the credential had to wait for its turn; what it throws is the answer. */
  readonly mayGoOn?: () => void;
}

/** Decides who a connection is. */
export interface Authenticator {
  /**
   * The principal of a credential; undefined stands for no credential. Rejects with
   * `unauthenticated`, `token_expired` or `token_revoked`, or with `busy` when an issuer's keys cannot be had;
   * behind the door with `banned` and `rate_limited` too.
   */
  authenticate(credential: Credential | undefined, peer: Peer): Promise<Principal>;
  /** Everyone is let in and may do everything: there is nothing to tell anyone apart by. */
  readonly open: boolean;
  /** Whether a connection without a credential is let in, or has to send `auth` in time [P-1.3]. */
  readonly anonymousAllowed: boolean;
  /** Key files and fetched keys are read anew for the next token [P-14.1]. */
  refreshKeys(): void;
  /** Fetched keys are asked for anew if that is due: some may have gone [P-14.4]. Does not reject. */
  recheckKeys(): Promise<void>;
}

/** Without a secret and without issuers no token is accepted. */
export interface AuthenticatorConfig extends IssuersConfig {
  readonly roles: Readonly<Record<string, RoleSettings>>;
  /** Where rights come from, with these roles at the bottom of it; one of its own when absent. */
  readonly book?: RoleBook | undefined;
  readonly keys: readonly KeySettings[];
  /** The keys that are good, with these at the bottom of them; only these when absent. */
  readonly apiKeys?: ApiKeys | undefined;
  /** What is taken back; nothing when absent. */
  readonly revocations?: Revocations | undefined;
  /** Told of each use of a key. */
  readonly keyUsed?: ((id: string) => void) | undefined;
  /** What a connection without a credential may do; undefined lets none in. */
  readonly anonymous: { readonly grants: readonly Grant[] } | undefined;
  /** Who the holder of a client certificate is [P-14.3]; absent, nobody. */
  readonly clientPrincipal?: ClientPrincipal | undefined;
}

/**
 * Throws an Error that lists every fault in roles, keys and grants by its place. With neither a secret
 * nor keys nor anonymous grants the broker is open: everyone is `anonymous` and may do everything, so
 * `assertSafeToListen` must be asked where it may listen.
 */
export function createAuthenticator(config: AuthenticatorConfig): Authenticator {
  const faults = accessFaults(config);
  if (faults.length > 0) {
    const list = faults.map(({ pointer, message }) => `${pointer}: ${message}`).join("\n");
    throw new Error(`Access is not configured rightly.\n${list}`);
  }
  return hasCredentials(config) || config.anonymous !== undefined
    ? new ConfiguredAuthenticator(config)
    : OPEN;
}

/** Whether anyone could be told apart by a credential. */
export function hasCredentials(
  config: Pick<AuthenticatorConfig, "jwtSecret" | "keys" | "issuers" | "clientPrincipal">,
): boolean {
  const { jwtSecret, keys, issuers, clientPrincipal } = config;
  const someIssuer = jwtSecret !== undefined || (issuers ?? []).length > 0;
  return someIssuer || keys.length > 0 || clientPrincipal !== undefined;
}

const EVERYONE: Principal = { name: ANONYMOUS, rights: ALLOW_ALL };
const OPEN: Authenticator = {
  open: true,
  anonymousAllowed: true,
  authenticate: () => Promise.resolve(EVERYONE),
  refreshKeys: () => undefined,
  recheckKeys: () => Promise.resolve(),
};

class ConfiguredAuthenticator implements Authenticator {
  readonly open = false;
  readonly #issuers: Issuers | undefined;
  readonly #keys: ApiKeys;
  readonly #revocations: Revocations | undefined;
  readonly #keyUsed: AuthenticatorConfig["keyUsed"];
  readonly #book: RoleBook;
  readonly #anonymous: Principal | undefined;
  readonly #clientPrincipal: ClientPrincipal | undefined;
  readonly #clock: AuthenticatorConfig["clock"];

  constructor(config: AuthenticatorConfig) {
    this.#clock = config.clock;
    this.#issuers = createIssuers(config);
    this.#clientPrincipal = config.clientPrincipal;
    this.#keys = config.apiKeys ?? new ApiKeys(config.keys);
    this.#keyUsed = config.keyUsed;
    this.#revocations = config.revocations;
    this.#book = config.book ?? new RoleBook(config.roles);
    this.#anonymous = config.anonymous && {
      name: ANONYMOUS,
      rights: rightsOf(this.#book, {
        roles: [],
        grants: config.anonymous.grants,
        source: { kind: "anonymous" },
        variables: { principal: ANONYMOUS },
      }),
    };
  }

  get anonymousAllowed(): boolean {
    return this.#anonymous !== undefined;
  }

  async authenticate(credential: Credential | undefined, peer: Peer): Promise<Principal> {
    if (credential === undefined) {
      if (this.#anonymous !== undefined) return this.#anonymous;
      throw new WarrenError("unauthenticated", "A credential is needed: a token or an API key.");
    }
    const principal = await this.#principalOf(credential, peer);
    assertNamed(principal.name);
    this.#revocations?.assertNotRevoked(principal);
    const { key } = principal.credential ?? {};
    if (key !== undefined) this.#keyUsed?.(key.id);
    return principal;
  }

  async #principalOf(credential: Credential, { mayGoOn }: Peer): Promise<Principal> {
    if (typeof credential !== "string") return this.#byCertificate(credential);
    if (credential === "") throw new WarrenError("unauthenticated", "The credential is empty.");
    if (looksLikeKey(credential)) return this.#byKey(credential);
    if (this.#issuers === undefined) {
      throw new WarrenError("unauthenticated", "This broker takes API keys only.");
    }
    return this.#byClaims(await this.#issuers.verify(credential, mayGoOn));
  }

  refreshKeys(): void {
    this.#issuers?.refresh();
  }

  async recheckKeys(): Promise<void> {
    await this.#issuers?.recheck();
  }

  #byKey(text: string): Principal {
    const shown = this.#keys.find(text);
    if (shown === undefined) throw new WarrenError("unauthenticated", "The API key is not valid.");
    const { key, hash, expiresAt, issuedAt } = shown;
    const { id, principal: name, client, roles } = key;
    if (expiresAt !== undefined && expiresAt <= this.#clock.now()) {
      throw new WarrenError("token_expired", "The API key has expired.");
    }
    const rights = rightsOf(this.#book, keyHolder(key));
    const rates = this.#ratesOf(roles);
    return {
      name,
      rights,
      ...(rates && { rates }),
      ...(client !== undefined && { client }),
      ...(expiresAt !== undefined && { expiresAt }),
      credential: { key: { id, hash }, ...(issuedAt !== undefined && { issuedAt }) },
    };
  }

  #ratesOf(roles: readonly string[] | undefined): RoleRates | undefined {
    return ratesOf(roles, (role) => this.#book.get(role)?.rates);
  }

  #byCertificate(certificate: ClientCertificate): Principal {
    const rule = this.#clientPrincipal;
    const name = rule && principalOf(certificate, rule);
    if (rule === undefined || name === undefined) {
      const wanted = rule?.from ?? "that is looked for";
      throw new WarrenError(
        "unauthenticated",
        `The certificate has not exactly one name ${wanted}.`,
      );
    }
    if (certificate.validTo <= this.#clock.now()) {
      throw new WarrenError("token_expired", "The certificate has expired.");
    }
    const rights = rightsOf(this.#book, {
      roles: rule.roles ?? [],
      grants: rule.grants,
      source: { kind: "certificate" },
      variables: { principal: name },
    });
    const rates = this.#ratesOf(rule.roles);
    const { validFrom: issuedAt, validTo: expiresAt } = certificate;
    return { name, rights, ...(rates && { rates }), expiresAt, credential: { issuedAt } };
  }

  #byClaims({ claims, bounds, vouchedFor }: Vouched): Principal {
    const { sub, client, exp, iat, jti } = claims;
    const name = `${bounds.principalPrefix ?? ""}${sub}`;
    const { allowedRoles, maxAgeMs, maxPlan } = bounds;
    const roles =
      allowedRoles === undefined
        ? claims.roles
        : claims.roles?.filter((role) => allowedRoles.includes(role));
    const variables = { principal: name, client, claims };
    const own = rightsOf(this.#book, {
      roles: roles ?? [],
      grants: claims.grants,
      source: { kind: "token" },
      variables,
    });
    const rights = maxPlan ? new BoundedRights(own, maxPlan.rightsFor(variables)) : own;
    // The token's own word: a clock tolerance lets a connection in, it does not make it last.
    const expiresAt = Math.min(
      exp === undefined ? Number.POSITIVE_INFINITY : Math.floor(exp * 1000),
      maxAgeMs === undefined ? Number.POSITIVE_INFINITY : Math.floor((iat ?? 0) * 1000) + maxAgeMs,
    );
    const rates = this.#ratesOf(roles);
    return {
      name,
      rights,
      ...(rates && { rates }),
      ...(client !== undefined && { client }),
      ...(Number.isFinite(expiresAt) && { expiresAt }),
      credential: {
        ...(jti !== undefined && { jti }),
        ...(iat !== undefined && { issuedAt: iat * 1000 }),
        ...(vouchedFor && { vouchedFor }),
      },
    };
  }
}

/** Whose rights a key's are. */
export function keyHolder({ id, principal, client, roles = [], grants }: KeySettings): Holder {
  return { roles, grants, source: { kind: "key", id }, variables: { principal, client } };
}

/** Throws `unauthenticated` when the credential's own grants are none. */
function rightsOf(book: RoleBook, holder: Holder): Rights {
  try {
    return book.rightsFor(holder);
  } catch (error) {
    if (error instanceof GrantsFault) throw claimFault(error.fault.pointer, error.fault.message);
    throw error;
  }
}

/** Everything that is wrong with issuers, keys, roles and grants of the settings, by its place. */
export function accessFaults(config: AuthenticatorConfig): Fault[] {
  const faults = issuerFaults(config);
  for (const [name, role] of Object.entries(config.roles)) {
    faults.push(...grantFaults(role.grants, `/roles/${pointerPart(name)}/grants`));
  }
  const ids = new Set<string>();
  config.keys.forEach(({ id, principal, grants, roles }, index) => {
    if (principal === ANONYMOUS) {
      const message = `is "${ANONYMOUS}", the name of those who show no credential`;
      faults.push({ pointer: `/keys/${index}/principal`, message });
    }
    faults.push(...grantFaults(grants ?? [], `/keys/${index}/grants`));
    if (ids.has(id)) faults.push({ pointer: `/keys/${index}/id`, message: `repeats "${id}"` });
    ids.add(id);
    faults.push(...unknownRoles(roles, config, `/keys/${index}/roles`));
  });
  const { grants: certain, roles: certified } = config.clientPrincipal ?? {};
  faults.push(...unknownRoles(certified, config, "/tls/clientPrincipal/roles"));
  faults.push(...grantFaults(certain ?? [], "/tls/clientPrincipal/grants"));
  return [...faults, ...grantFaults(config.anonymous?.grants ?? [], "/anonymous/grants")];
}

/** What the settings give to somebody by its name has to be in the settings. */
function unknownRoles(
  names: readonly string[] | undefined,
  { roles }: AuthenticatorConfig,
  pointer: string,
): Fault[] {
  return (names ?? []).flatMap((role, at) => {
    if (Object.hasOwn(roles, role)) return [];
    const message = `names the role "${role}", which is not configured`;
    return [{ pointer: `${pointer}/${at}`, message }];
  });
}

function pointerPart(name: string): string {
  return name.replaceAll("~", "~0").replaceAll("/", "~1");
}
