/** A broker whose topics below `room/` have presence, and people who come there. */
import { type BrokerOptions, startBroker, type TestBroker } from "./start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "./tokens.ts";
import { type Encoding, type Frame, WireClient } from "./wire-client.ts";

export const ROOMS = { rooms: { filter: "room/#", presence: true } } as const;

/** Whoever has this may do what people do in rooms. */
export const ROOMER = [
  { allow: ["publish", "subscribe", "presence"], on: ["#"] },
  { allow: ["admin"], on: ["#"] },
] as const;

export interface House extends AsyncDisposable {
  readonly broker: TestBroker;
  /** Connects somebody; what is given beside the name are claims. */
  come(name: string, claims?: Readonly<Record<string, unknown>>): Promise<WireClient>;
}

/** Where everybody has a name of his own. */
export async function openHouse(encoding: Encoding, options: BrokerOptions = {}): Promise<House> {
  const access = { ...TOKENS_ONLY, channels: ROOMS, ...options.access };
  const broker = await startBroker({ ...options, access });
  const came: WireClient[] = [];
  return {
    broker,
    async come(name, claims = { grants: ROOMER }) {
      const token = await tokenFor(name, claims);
      const client = await WireClient.connect(broker.wsUrl, { encoding, token });
      came.push(client);
      return client;
    },
    async [Symbol.asyncDispose]() {
      for (const client of came) client[Symbol.dispose]();
      await broker[Symbol.asyncDispose]();
    },
  };
}

/** The members of a topic, as a connection is told. */
export async function membersOf(client: WireClient, topic: string): Promise<Frame[]> {
  return (await client.ok({ type: "presence", topic })).members;
}

/** What was told of presence until now, in few words, such as `join ada`. */
export async function toldUntilNow(client: WireClient): Promise<string[]> {
  const frames = await client.everythingUntilNow();
  return frames.filter(({ type }) => type === "presence").map(inWords);
}

export function inWords({ action, member, count }: Frame): string {
  return `${action} ${member?.principal ?? count}`;
}
