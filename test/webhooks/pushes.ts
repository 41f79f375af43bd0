/**
 * A broker whose webhooks post to names that all lead to 127.0.0.1, in a process of its own for the sake of
 * the authorities that it trusts. Arguments: port, names. Prints what became of each, as JSON.
 */
import { eventually } from "../harness/eventually.ts";
import { startBroker } from "../harness/start-broker.ts";

const [, , port, ...names] = process.argv;
await using broker = await startBroker({ deps: { resolve: async () => ["127.0.0.1"] } });
const said: Record<string, string | undefined> = {};
for (const name of names) {
  const webhook = { url: `https://${name}:${port}/hook` };
  await broker.queue(name, [`to/${name}`], { maxDeliveries: 1, webhook });
  await fetch(`${broker.httpUrl}/v1/topics/to/${name}`, { method: "POST", body: "1" });
  await eventually(
    () => {
      const { acked, nacked } = broker.warren.broker.engine.queues.describe(name).counters;
      return acked + nacked === 1;
    },
    () => `what became of the message to ${name}`,
  );
  const answer = await fetch(`${broker.httpUrl}/admin/v1/queues/${name}/webhook`);
  said[name] = ((await answer.json()) as { lastError?: string }).lastError ?? "acked";
}
process.stdout.write(JSON.stringify(said));
