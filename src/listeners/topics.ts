/** What topics keep, over HTTP: their history and their retained value [P-12.9]. */
import type { Broker } from "../broker/broker.ts";
import {
  assertHistoryQuery,
  historyRequest,
  nextOffset,
  pageBytes,
  retains,
} from "../broker/kept.ts";
import type { Answered, HistoryPage, RetainedPage } from "../engine/topics.ts";
import { WarrenError } from "../errors.ts";
import { assertTopic } from "../topic.ts";
import { acceptsMsgpack } from "./body.ts";
import { keptView } from "./message-view.ts";
import { type Call, type Handlers, param } from "./services.ts";

export const topicHandlers: Handlers<"history" | "retained"> = {
  async history(call, { broker, config, standing }) {
    const topic = param(call, "topic");
    const query = { ...call.query, topic };
    assertHistoryQuery(query, config.limits);
    assertMay(call, "history", topic);
    const request = historyRequest(query, broker);
    const page = await answerTo<HistoryPage>(broker, (answered) =>
      broker.engine.topics.history(request, answered),
    );
    // Rights may have gone while it was read.
    standing.assert(call);
    assertMay(call, "history", topic);
    const packed = acceptsMsgpack(call.request);
    const next = nextOffset(page);
    return {
      topic,
      epoch: page.epoch,
      offset: page.offset,
      messages: page.messages.map(({ message, offset }) => ({
        offset,
        ...keptView(message, packed),
      })),
      ...(next !== undefined && { next }),
    };
  },

  async retained(call, { broker, config, standing }) {
    const topic = param(call, "topic");
    assertTopic(topic, config.limits);
    assertMay(call, "subscribe", topic);
    if (!retains(broker, topic)) {
      const why = "No value is retained on this topic.";
      throw new WarrenError("not_supported", why, { pointer: "/topic", topic });
    }
    const request = { filter: topic, limit: 1, bytes: pageBytes(config.limits) };
    const { messages } = await answerTo<RetainedPage>(broker, (answered) =>
      broker.engine.topics.retained(request, answered),
    );
    standing.assert(call);
    assertMay(call, "subscribe", topic);
    const [message] = messages;
    if (message !== undefined) return keptView(message, acceptsMsgpack(call.request));
    throw new WarrenError("not_found", `There is no retained value on ${topic}.`, { topic });
  },
};

/** Throws `forbidden`. */
function assertMay(
  { principal: { rights } }: Pick<Call, "principal">,
  action: "subscribe" | "history",
  on: string,
): void {
  const allowed = action === "subscribe" ? rights.maySubscribe(on) : rights.may(action, on);
  if (allowed) return;
  const why = `There is no right to ${action} here.`;
  throw new WarrenError("forbidden", why, { action, on, topic: on });
}

function answerTo<Page>(
  { reads }: Pick<Broker, "reads">,
  ask: (answered: Answered<Page>) => void,
): Promise<Page> {
  return new Promise((resolve, reject) =>
    reads.take(() =>
      ask((answer) => {
        if (answer instanceof WarrenError) reject(answer);
        else resolve(answer);
        reads.giveBack();
      }),
    ),
  );
}
