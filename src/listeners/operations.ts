/** Every operation with its handler; the type makes sure that none is left out. */
import type { OperationName } from "../../schemas/http.ts";
import { adminHandlers } from "./admin.ts";
import { auditHandlers } from "./audit.ts";
import { channelHandlers } from "./channels.ts";
import { connectionHandlers } from "./connections.ts";
import { consumerHandlers } from "./consumers.ts";
import { explainHandlers } from "./explain.ts";
import { keyHandlers } from "./keys.ts";
import { opsHandlers } from "./ops.ts";
import { presenceHandlers } from "./presence.ts";
import { publishHandlers } from "./publish.ts";
import { pullHandlers } from "./pull.ts";
import { revocationHandlers } from "./revocations.ts";
import { roleHandlers } from "./roles.ts";
import { scheduledHandlers } from "./scheduled.ts";
import type { Handlers } from "./services.ts";
import { taskHandlers } from "./tasks.ts";
import { topicHandlers } from "./topics.ts";
import { webhookHandlers } from "./webhook.ts";

export const HANDLERS: Handlers<OperationName> = {
  ...opsHandlers,
  ...publishHandlers,
  ...scheduledHandlers,
  ...presenceHandlers,
  ...topicHandlers,
  ...pullHandlers,
  ...adminHandlers,
  ...consumerHandlers,
  ...webhookHandlers,
  ...auditHandlers,
  ...taskHandlers,
  ...roleHandlers,
  ...channelHandlers,
  ...explainHandlers,
  ...connectionHandlers,
  ...keyHandlers,
  ...revocationHandlers,
};
