/**
 * Everything the broker answers over HTTP [P-12.1]: one table of operations with what each takes and
 * gives. The router checks bodies and queries against it, and `openapi.json` is made from it.
 */
import type { Static, TObject, TSchema } from "@sinclair/typebox";
import { ACCESS_OPERATIONS } from "./http-access.ts";
import { AUDIT_OPERATIONS } from "./http-audit.ts";
import { CHANNEL_OPERATIONS } from "./http-channels.ts";
import { CONNECTION_OPERATIONS } from "./http-connections.ts";
import { DATA_OPERATIONS } from "./http-data.ts";
import { KEY_OPERATIONS } from "./http-keys.ts";
import { PLANE_OPERATIONS } from "./http-plane.ts";
import { PRESENCE_OPERATIONS } from "./http-presence.ts";
import { QUEUE_OPERATIONS } from "./http-queues.ts";
import { REVOCATION_OPERATIONS } from "./http-revocations.ts";
import { TASK_OPERATIONS } from "./http-tasks.ts";
import { TOPIC_OPERATIONS } from "./http-topics.ts";

export type { SettleBody } from "./http-data.ts";
export type { Operation } from "./http-operation.ts";

export const OPERATIONS = {
  ...PLANE_OPERATIONS,
  ...DATA_OPERATIONS,
  ...PRESENCE_OPERATIONS,
  ...TOPIC_OPERATIONS,
  ...QUEUE_OPERATIONS,
  ...AUDIT_OPERATIONS,
  ...TASK_OPERATIONS,
  ...ACCESS_OPERATIONS,
  ...CHANNEL_OPERATIONS,
  ...CONNECTION_OPERATIONS,
  ...KEY_OPERATIONS,
  ...REVOCATION_OPERATIONS,
};

export type OperationName = keyof typeof OPERATIONS;

type BodyOf<O> = O extends { body: infer B extends TSchema } ? Static<B> : undefined;
type QueryOf<O> = O extends { query: infer Q extends TObject } ? Static<Q> : undefined;

/** What the handler of an operation gets, already checked and with defaults filled in. */
export type OperationBody<N extends OperationName> = BodyOf<(typeof OPERATIONS)[N]>;
export type OperationQuery<N extends OperationName> = QueryOf<(typeof OPERATIONS)[N]>;
