/**
 * Why somebody may do something or not [P-14.7]: for a session, for all sessions and keys of a
 * principal, or for somebody thought up, with the roles and grants of the question.
 */
import type { OperationQuery } from "../../schemas/http.ts";
import type { Deniable, Rights } from "../broker/access.ts";
import { GrantsFault } from "../broker/roles.ts";
import { WarrenError } from "../errors.ts";
import { parseJson } from "../nesting.ts";
import { keyHolder } from "../security/authenticator.ts";
import type { Session } from "../session/session.ts";
import { assertFilter, assertTopic } from "../topic.ts";
import { boundOfArea } from "./bounds.ts";
import type { Handlers, Services } from "./services.ts";

type Query = OperationQuery<"explainAccess">;

/** Sessions of one principal that are explained, and endings that are told. */
const SHOWN_AT_MOST = 100;

export const explainHandlers: Handlers<"explainAccess"> = {
  async explainAccess({ query }, services) {
    const { action, on } = query as { action: Deniable; on: string };
    assertAskable(action, on, services);
    const { principal, subjects } = await subjectsOf(query, services);
    if (subjects.length === 0) throw nobody(principal);
    const ended = services.sessions.review.endings.of(principal, undefined, SHOWN_AT_MOST);
    return {
      principal,
      action,
      on,
      subjects: subjects.map(({ rights, ...who }) => ({
        ...who,
        ...explained(rights, action, on, services),
      })),
      ended: ended.map(({ time, session, action: of, on: what, why }) => ({
        time,
        session,
        action: of,
        on: what,
        reason: why.reason,
      })),
    };
  },
};

function explained(rights: Rights, action: Deniable, on: string, { broker }: Services) {
  const said = broker.explain(rights, action, on);
  const bound = action === "admin" && said.allowed ? boundOfArea({ rights }, on) : "";
  return { ...said, reason: said.reason + bound };
}

interface Subject {
  readonly session?: string;
  readonly key?: string;
  readonly rights: Rights;
}

async function subjectsOf(
  query: Query,
  services: Services,
): Promise<{ principal: string; subjects: readonly Subject[] }> {
  const { session, roles, grants, principal } = query;
  if (session !== undefined) {
    const found = [...services.sessions].find(({ id }) => id === session);
    if (found?.principal === undefined) {
      throw new WarrenError("not_found", "There is no such session.", { session });
    }
    return { principal: found.principal.name, subjects: [subjectOf(found, found.principal)] };
  }
  if (principal === undefined) {
    throw new WarrenError("invalid_frame", "Say who: principal, or session.", {
      pointer: "/principal",
    });
  }
  if (roles !== undefined || grants !== undefined) {
    return { principal, subjects: [{ rights: thoughtUp(principal, query, services) }] };
  }
  return { principal, subjects: await livingSubjects(principal, query.client, services) };
}

function subjectOf({ id }: Session, { rights }: { rights: Rights }): Subject {
  return { session: id, rights };
}

async function livingSubjects(
  name: string,
  client: string | undefined,
  { sessions, keys, roles, clock }: Services,
): Promise<Subject[]> {
  const subjects: Subject[] = [];
  for (const session of sessions) {
    const { principal } = session;
    if (principal?.name !== name || (client !== undefined && principal.client !== client)) continue;
    subjects.push(subjectOf(session, principal));
    if (subjects.length === SHOWN_AT_MOST) return subjects;
  }
  const page = await keys.page({ principal: name, limit: SHOWN_AT_MOST }, clock);
  for (const key of page.keys) {
    if (client !== undefined && key.client !== client) continue;
    subjects.push({ key: key.id, rights: roles.planned(keyHolder(key)) });
  }
  return subjects.slice(0, SHOWN_AT_MOST);
}

function thoughtUp(principal: string, query: Query, { roles }: Services): Rights {
  const claims = json(query.claims, "/claims");
  const given = (query.roles ?? "").split(",").map((name) => name.trim());
  const names = given.filter((name) => name !== "");
  // It would give nothing, and whoever mistyped it would look for the reason elsewhere.
  const unknown = names.find((name) => roles.get(name) === undefined);
  if (unknown !== undefined) {
    const pointer = "/roles";
    throw new WarrenError("invalid_frame", `There is no role ${unknown}.`, { pointer });
  }
  try {
    return roles.planned({
      roles: names,
      grants: json(query.grants, "/grants"),
      source: { kind: "request" },
      variables: {
        principal,
        client: query.client,
        ...(typeof claims === "object" && { claims: { ...claims } }),
      },
    });
  } catch (error) {
    if (!(error instanceof GrantsFault)) throw error;
    const { pointer, message } = error.fault;
    throw new WarrenError("invalid_frame", `The grants do not fit: ${message} at ${pointer}.`, {
      pointer,
    });
  }
}

function json(text: string | undefined, pointer: string): unknown {
  if (text === undefined) return undefined;
  try {
    return parseJson(text);
  } catch {
    throw new WarrenError("invalid_frame", `${pointer} is not JSON.`, { pointer });
  }
}

/** Throws `invalid_topic` or `invalid_filter` for what nobody could ask for. */
function assertAskable(action: Deniable, on: string, { config }: Services): void {
  if (action === "publish") assertTopic(on, config.limits);
  else if (action !== "consume") assertFilter(on, config.limits);
}

function nobody(principal: string): WarrenError {
  return new WarrenError(
    "not_found",
    `${principal} has no session and no key here; give roles or grants to ask what they would allow.`,
    { principal },
  );
}
