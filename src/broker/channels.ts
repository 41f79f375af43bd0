/**
 * Channels: what holds on the topics of a filter [P-14.9]. The most specific one that matches a topic rules
 * it, alone. It is found when the router looks at a topic for the first time; a broker without channels
 * pays nothing for them.
 */
import type { ChannelDefinition } from "../../schemas/channels.ts";
import type { HistoryBounds, KeepingChannel } from "../engine/topics.ts";
import { WarrenError } from "../errors.ts";
import type { Message } from "../message.ts";
import { assertFilter } from "../topic.ts";
import type { Fault, SourcedGrants } from "./access.ts";
import { FilterMatcher, NONE } from "./matcher.ts";
import { compileSchema, type PayloadCheck } from "./payload-schema.ts";
import { FilterTrie } from "./trie.ts";

/** An operator may raise the limits for topics up to these. */
const WIDEST = { topicBytes: 4095, topicLevels: 1024 };
const HISTORY_MESSAGES = 1000;
const MAX_TOPICS = 100_000;

export interface ChannelView extends ChannelDefinition {
  readonly name: string;
  readonly origin: "settings" | "stored";
}

/** Every fault of a definition whose shape is right. */
export function channelFaults(definition: ChannelDefinition, pointer: string): Fault[] {
  const faults: Fault[] = [];
  try {
    assertFilter(definition.filter, WIDEST);
  } catch (error) {
    if (!(error instanceof WarrenError)) throw error;
    faults.push({ pointer: `${pointer}/filter`, message: error.message });
  }
  const { schema, onInvalid, history, retained, maxTopics } = definition;
  if (maxTopics !== undefined && history === undefined && retained !== true) {
    const message = "is of no use without history or retained";
    faults.push({ pointer: `${pointer}/maxTopics`, message });
  }
  if (schema !== undefined) {
    const made = compileSchema(schema, `${pointer}/schema`);
    if (typeof made !== "function") faults.push(made);
  } else if (onInvalid !== undefined) {
    faults.push({ pointer: `${pointer}/onInvalid`, message: "is of no use without a schema" });
  }
  return faults;
}

/** Where payloads that do not fit are counted. */
interface Tally {
  invalid: number;
}

/** One channel, as each message to its topics meets it. */
export class Channel {
  readonly view: ChannelView;
  /** What its topics keep of their messages [P-4.3], and whether they keep a value [P-4.4]. */
  readonly history: HistoryBounds | undefined;
  readonly retained: boolean;
  /** Whom its topics count for, of which something is kept; undefined where nothing is. */
  readonly keeping: KeepingChannel | undefined;
  readonly #check: PayloadCheck | undefined;
  /** Messages that may come now, and when that was so, milliseconds. */
  #allowance: number;
  #countedAt = 0;
  readonly #tally: Tally;
  /** What is wrong with it, where it came from the store like that: nothing goes on. */
  readonly #fault: Fault | undefined;

  constructor(view: ChannelView, tally: Tally, fault?: Fault) {
    this.view = view;
    const { history } = view;
    this.history = history && { maxMessages: HISTORY_MESSAGES, ...history };
    this.retained = view.retained === true;
    const { name, maxTopics = MAX_TOPICS } = view;
    const keepsSomething = history !== undefined || this.retained;
    this.keeping = keepsSomething ? { name, maxTopics } : undefined;
    this.#fault = fault;
    this.#tally = tally;
    const made = view.schema === undefined ? undefined : compileSchema(view.schema, "/schema");
    this.#check = typeof made === "function" ? made : undefined;
    this.#allowance = Math.max(1, view.maxRatePerSecond ?? 0);
  }

  /** Whether what `refusal` says of a payload that does not fit means the dead letters. */
  get keepsMisfits(): boolean {
    return this.view.onInvalid === "dead-letter";
  }

  /** Why the message may not go on, if that is so; counts it. */
  refusal(message: Message, now: number): WarrenError | undefined {
    const misfit = this.misfit(message);
    const { maxRatePerSecond } = this.view;
    const goesOn =
      misfit === undefined || (this.keepsMisfits && misfit.code === "schema_violation");
    if (!goesOn || maxRatePerSecond === undefined) return misfit;
    return this.#overRate(maxRatePerSecond, now) ?? misfit;
  }

  /** Why no such message may be here, however few there are; counts it. */
  misfit(message: Message): WarrenError | undefined {
    const { maxPayloadBytes, name, onInvalid } = this.view;
    if (this.#fault !== undefined) return refusalOfFaulty(name, this.#fault);
    if (maxPayloadBytes !== undefined && message.payload.storedBytes().length > maxPayloadBytes) {
      const text = `The channel ${name} takes at most ${maxPayloadBytes} bytes of payload.`;
      return new WarrenError("too_large", text, { channel: name, limit: maxPayloadBytes });
    }
    const fault = this.#check?.(message.payload);
    if (fault !== undefined) {
      this.#tally.invalid++;
      if (onInvalid !== "count") {
        const pointer = `/payload${fault.pointer}`;
        const text = `The payload does not fit the schema of ${name}: ${pointer} ${fault.message}.`;
        return new WarrenError("schema_violation", text, { channel: name, pointer });
      }
    }
    return undefined;
  }

  #overRate(perSecond: number, now: number): WarrenError | undefined {
    const passed = Math.max(0, now - this.#countedAt) / 1000;
    this.#countedAt = now;
    this.#allowance = Math.min(Math.max(1, perSecond), this.#allowance + passed * perSecond);
    if (this.#allowance >= 1) {
      this.#allowance--;
      return undefined;
    }
    const retryAfterMs = Math.ceil(((1 - this.#allowance) / perSecond) * 1000);
    const detail = { channel: this.view.name, scope: "channel", retryAfterMs };
    return new WarrenError("rate_limited", undefined, detail);
  }
}

export class ChannelBook {
  readonly #settings: ReadonlyMap<string, Channel>;
  readonly #stored = new Map<string, Channel>();
  #byFilter = new FilterTrie<Channel>();
  /** The filters of channels with presence. */
  #presence = new FilterMatcher();
  /** The filters of those that keep retained values. */
  #retaining = new FilterMatcher();
  readonly #changed: () => void;
  readonly #tally: Tally;
  readonly #found: Channel[] = [];
  /** They have changed since they were put in order: at a start very many do before anybody asks. */
  #stale = true;

  /** `changed` is called after each change. */
  constructor(
    settings: Readonly<Record<string, ChannelDefinition>> = {},
    changed: () => void = () => undefined,
    tally: Tally = { invalid: 0 },
  ) {
    this.#tally = tally;
    this.#changed = changed;
    this.#settings = new Map(
      Object.entries(settings).map(([name, definition]) => [
        name,
        new Channel({ ...definition, name, origin: "settings" }, tally),
      ]),
    );
  }

  isOfSettings(name: string): boolean {
    return this.#settings.has(name);
  }

  isStored(name: string): boolean {
    return this.#stored.has(name);
  }

  /** What is stored under this name, whether it counts or not. */
  stored(name: string): ChannelDefinition | undefined {
    return this.#stored.get(name)?.view;
  }

  get(name: string): ChannelView | undefined {
    return (this.#settings.get(name) ?? this.#stored.get(name))?.view;
  }

  /** How many topics may keep something by this channel; undefined where it keeps nothing, or is none. */
  maxTopicsOf(name: string): number | undefined {
    return (this.#settings.get(name) ?? this.#stored.get(name))?.keeping?.maxTopics;
  }

  list(): ChannelView[] {
    const names = new Set([...this.#settings.keys(), ...this.#stored.keys()]);
    return [...names].sort().flatMap((name) => this.get(name) ?? []);
  }

  /** Another channel with the same filter: which of the two would rule could not be said. */
  rival(name: string, filter: string): string | undefined {
    return this.list().find((one) => one.filter === filter && one.name !== name)?.name;
  }

  /** A stored channel has come, changed, or gone (undefined); one with a fault takes no messages. */
  learn(name: string, definition: ChannelDefinition | undefined, fault?: Fault): void {
    if (definition === undefined) this.#stored.delete(name);
    else {
      const view = { ...definition, name, origin: "stored" } as const;
      this.#stored.set(name, new Channel(view, this.#tally, fault));
    }
    this.#stale = true;
    this.#changed();
  }

  /** The channel that rules the topic. */
  find(topic: string): Channel | undefined {
    this.#inOrder();
    if (this.#byFilter.size === 0) return undefined;
    const found = this.#found;
    found.length = 0;
    this.#byFilter.match(topic, found);
    let best: Channel | undefined;
    for (const one of found) {
      if (best === undefined || isMoreSpecific(one.view.filter, best.view.filter)) best = one;
    }
    found.length = 0;
    return best;
  }

  /** Whether there is a channel with presence [P-7.1]. */
  get somePresence(): boolean {
    this.#inOrder();
    return this.#presence.size > 0;
  }

  hasPresence(topic: string): boolean {
    return this.find(topic)?.view.presence === true;
  }

  /** Whether a channel with presence shares a topic with the filter, though a more specific one may rule there. */
  mayHavePresence(filter: string): boolean {
    this.#inOrder();
    return this.#presence.overlapping(filter, []) !== NONE;
  }

  /** Whether some topic of the filter may have a retained value, by a channel of its own or another's. */
  mayRetain(filter: string): boolean {
    this.#inOrder();
    return this.#retaining.overlapping(filter, []) !== NONE;
  }

  /** What everyone may do, by the channels. */
  everyone(): SourcedGrants[] {
    return this.list().flatMap(({ name, filter, everyone = [] }) =>
      everyone.length === 0
        ? []
        : [{ source: { kind: "channel", name }, grants: [{ allow: everyone, on: [filter] }] }],
    );
  }

  #inOrder(): void {
    if (!this.#stale) return;
    this.#stale = false;
    this.#byFilter = new FilterTrie();
    const stored = [...this.#stored].filter(([name]) => !this.#settings.has(name));
    for (const [, channel] of stored) this.#byFilter.set(channel.view.filter, channel);
    // Last, so that of equal filters that of the settings stays.
    for (const channel of this.#settings.values()) {
      this.#byFilter.set(channel.view.filter, channel);
    }
    this.#presence = new FilterMatcher();
    this.#retaining = new FilterMatcher();
    for (const { filter, presence, retained } of this.list()) {
      if (presence === true) this.#presence.add(filter, 0);
      if (retained === true) this.#retaining.add(filter, 0);
    }
  }
}

function refusalOfFaulty(channel: string, { pointer, message }: Fault): WarrenError {
  const text = `The channel ${channel} is stored with a fault, and takes nothing until it is mended.`;
  return new WarrenError("schema_violation", text, { channel, fault: `${pointer} ${message}` });
}

/**
 * Of two filters that match one topic the more specific: at the first level at which they differ a name, or
 * the end, is more specific than `+`, and that than `#`. So of a filter that lies inside another it is the
 * inner one, and two different ones are never equal.
 */
export function isMoreSpecific(one: string, other: string): boolean {
  const left = one.split("/");
  const right = other.split("/");
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    if (left[i] !== right[i]) return rank(left[i]) > rank(right[i]);
  }
  return false;
}

function rank(level: string | undefined): number {
  return level === "#" ? 0 : level === "+" ? 1 : 2;
}
