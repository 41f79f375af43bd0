/**
 * HTTP: from a request to its operation and back, with every failure rendered in one place [P-12.1].
 * Origins and credentials are looked at before anything else is.
 */
import { OPERATIONS, type Operation } from "../../schemas/http.ts";
import type { Principal } from "../broker/access.ts";
import { toWarrenError, WarrenError } from "../errors.ts";
import { decodeMsgpack } from "../protocols/native/msgpack.ts";
import type { Credential } from "../security/authenticator.ts";
import { certificateFor, findCredential, redactUrl } from "../security/credentials.ts";
import { auditUntold, type Change, changeOf } from "./audit.ts";
import {
  checked,
  checkedQuery,
  decoded,
  encodedResponse,
  MSGPACK,
  mediaType,
  readBytes,
} from "./body.ts";
import { assertNotForged, corsHeaders } from "./cors.ts";
import { assertOrigin, type Frontier } from "./frontier.ts";
import { HANDLERS } from "./operations.ts";
import { problemResponse } from "./problem.ts";
import { matchOperation } from "./router.ts";
import { secure } from "./security-headers.ts";
import type { HttpHandler, HttpPeer } from "./server.ts";
import type { Answer, Call, Services } from "./services.ts";

export function createHttpHandler(services: Services, frontier: Frontier): HttpHandler {
  return async (request, server) => {
    const cors = corsHeaders(request, frontier.origins);
    const who: Who = {};
    let response: Response;
    try {
      response = await respond(request, server, services, frontier, who);
    } catch (thrown) {
      response = renderFailure(counted(thrown, who, services), request, services, who);
    }
    for (const [name, value] of Object.entries(cors)) response.headers.set(name, value);
    secure(response.headers);
    return response;
  };
}

async function respond(
  request: Request,
  server: HttpPeer,
  services: Services,
  { origins, addresses }: Frontier,
  who: Who,
): Promise<Response> {
  const url = new URL(request.url);
  const address = addresses.of(request.headers, server.requestIP(request as never)?.address ?? "");
  who.address = address;
  assertOrigin(request, origins);
  assertNotForged(request, origins);
  if (request.method === "OPTIONS") {
    count(who, services);
    return new Response(null, { status: 204 });
  }
  const { name, params } = matchOperation(request.method, url.pathname);
  const operation: Operation = OPERATIONS[name];
  if (services.phase() === "starting" && operation.access !== "nobody") {
    throw new WarrenError("busy", "The broker is starting.");
  }
  if (operation.access !== "nobody") services.admission.request(address);
  const credential =
    findCredential(request, origins) ?? certificateFor(request, origins, server.certificate);
  const principal = await principalOf(operation, credential, who, services);
  who.change = changeOf(name, operation, params);
  who.isCounted = true;
  const meter = services.admission.meterOf({ address, principal });
  const call = {
    request,
    params,
    principal,
    address,
    server,
    meter,
    query: operation.query === undefined ? undefined : checkedQuery(operation.query, url),
    body: await bodyOf(operation, { request, meter }, services.config.limits.frameBytes),
  };
  // A body may take long to come: who was let in at its beginning may be shut out at its end.
  if (principal !== undefined && operation.body !== undefined) {
    services.standing.assert({ address, principal });
    assertArea(operation, principal);
  }
  // The table gives each operation's handler exactly the input that its own entry describes.
  const handle = HANDLERS[name] as (call: unknown, services: Services) => Answer | Promise<Answer>;
  const answer = await handle(call satisfies Record<keyof Call, unknown>, services);
  if (answer === undefined) return new Response(null, { status: 204 });
  return answer instanceof Response ? answer : encodedResponse(request, answer);
}

/** Who asks, as far as it is known by now. */
interface Who {
  address?: string;
  /** It counts for its rates already. */
  isCounted?: boolean;
  principal?: Principal;
  /** What was to be changed, once it is certain that the asker has the right to. */
  change?: Change | undefined;
}

/** A request that comes no further counts as any other. Throws `banned`, `rate_limited`. */
function count(who: Who, { admission }: Services): void {
  const { address = "", principal } = who;
  who.isCounted = true;
  admission.request(address);
  admission.meterOf({ address, principal });
}

/** What a request is refused for, in the end: who is refused too often has an answer that says so [P-14.11]. */
function counted(thrown: unknown, who: Who, services: Services): unknown {
  if (who.isCounted === true || who.address === undefined) return thrown;
  if (thrown instanceof WarrenError && OVER.has(thrown.code)) return thrown;
  try {
    count(who, services);
    return thrown;
  } catch (over) {
    return over;
  }
}

const OVER: ReadonlySet<string> = new Set(["banned", "rate_limited"]);

async function principalOf(
  operation: Operation,
  credential: Credential | undefined,
  who: Who,
  { authenticator }: Services,
): Promise<Principal | undefined> {
  if (operation.access === "nobody") return undefined;
  const principal = await authenticator.authenticate(credential, { address: who.address ?? "" });
  who.principal = principal;
  assertArea(operation, principal);
  return principal;
}

function assertArea({ area }: Operation, { rights }: Principal): void {
  if (area === undefined || rights.may("admin", area)) return;
  throw new WarrenError("forbidden", `You have no admin right on ${area}.`, {
    ...{ action: "admin", on: area, area },
  });
}

async function bodyOf(
  { body, packedPayload }: Operation,
  { request, meter }: Pick<Call, "request" | "meter">,
  maxBytes: number,
): Promise<unknown> {
  if (body === undefined) return undefined;
  const bytes = await readBytes(request, maxBytes, meter);
  // No body says as much as an empty object does.
  if (bytes.length === 0) return checked(body, {});
  const type = mediaType(request);
  const leavesPayload = packedPayload === true && type === MSGPACK;
  return checked(body, leavesPayload ? decodeMsgpack(bytes) : decoded(bytes, type));
}

function renderFailure(thrown: unknown, request: Request, services: Services, who: Who): Response {
  const { log, broker } = services;
  const error = toWarrenError(thrown);
  broker.refusals.note(error, who);
  const { change, principal, address = "" } = who;
  if (change !== undefined && principal !== undefined) {
    auditUntold(thrown, change, { principal, address }, services);
  }
  if (error.code === "internal") {
    const { method } = request;
    log.error("request failed", { method, url: redactUrl(request.url), error: error.cause });
  }
  const { allow, ...detail } = error.detail ?? {};
  if (!Array.isArray(allow)) return problemResponse(error);
  return problemResponse(new WarrenError(error.code, error.message, detail), {
    Allow: allow.join(", "),
  });
}
