/** Engines that are broken on purpose, each in one way: a simulation that finds nothing is worth nothing. */
import type { AppendReceipt } from "../../src/engine/engine.ts";
import { SqliteEngine } from "../../src/engine/sqlite/engine.ts";
import type { SqliteQueue } from "../../src/engine/sqlite/queue.ts";
import type { WarrenError } from "../../src/errors.ts";
import type { Sabotage } from "./world.ts";

/** The disk says that it has written, and now and then it has not. */
const lyingDisk: Sabotage = (_, disk) => {
  disk.mood.lies = true;
};

/** A delayed message is handed out at once. */
const impatient: Sabotage = (engine) => {
  const { append } = SqliteEngine.prototype;
  engine.append = (request) => append.call(engine, Object.assign(request, { dueAt: undefined }));
};

/** What a lost connection held is settled, as if it had been acked. */
const forgetful: Sabotage = (engine) => {
  const { open } = engine.queues;
  engine.queues.open = (name) => {
    const queue: SqliteQueue = open.call(engine.queues, name);
    queue.settlement.takeBack = (consumer) => {
      const tags = consumer.held.values().map(({ tag }) => tag);
      if (tags.length > 0) queue.settlement.settle(consumer, tags, { kind: "ack" }, undefined);
    };
    return queue;
  };
};

/** After a lost writer it goes on with what it thought before. */
const stubborn: Sabotage = (engine) => {
  engine.queues.rebuild = () => {};
};

/** Each message of a batch is stored by itself. */
const piecemeal: Sabotage = (engine) => {
  engine.appendBatch = (batch) => {
    const { items } = batch;
    const failed = (error: WarrenError) => batch.failed(error);
    const receipts: AppendReceipt[] = [];
    const done = (index: number, receipt: AppendReceipt) => {
      receipts[index] = receipt;
      if (receipts.length === items.length) batch.stored(receipts);
    };
    for (const [index, item] of items.entries()) {
      engine.append({ ...item, stored: (receipt) => done(index, receipt), failed });
    }
  };
};

/** A scheduled message stays as it was, whatever is said of its change. */
const stiff: Sabotage = (engine) => {
  engine.reschedule = ({ done }) => void Promise.resolve().then(() => done(1));
};

/** What gives way is taken from memory only. */
const hoarding: Sabotage = (engine) => {
  const { open } = engine.queues;
  engine.queues.open = (name) => {
    const queue: SqliteQueue = open.call(engine.queues, name);
    queue.settlement.displace = () => {};
    return queue;
  };
};

/** Whoever loses his connection is gone in that moment. */
const unforgiving: Sabotage = (_engine, _disk, presence) => {
  presence.lose = (member) => presence.leave(member);
};

/** Whoever is missing is waited for, however long that takes. */
const faithful: Sabotage = (_engine, _disk, presence) => {
  presence.lose = () => {};
};

/** A list is given in the middle of what is being told. */
const hasty: Sabotage = (_engine, _disk, presence) => {
  const { list } = presence;
  presence.list = (topic, limit) => list.call(presence, topic, limit);
};

/** Who says something else of himself is not listened to. */
const deaf: Sabotage = (_engine, _disk, presence) => {
  presence.inform = () => {};
};

/** Who shows who he is stays who he was. */
const forgetsFaces: Sabotage = (_engine, _disk, presence) => {
  presence.identify = () => {};
};

export const SABOTAGES: Readonly<Record<string, Sabotage>> = {
  "a disk that lies": lyingDisk,
  "delays that are ignored": impatient,
  "memory not rebuilt after a lost writer": stubborn,
  "batches stored by halves": piecemeal,
  "what gives way stays on disk": hoarding,
  "changes of scheduled messages that are not made": stiff,
  "members gone with their connection": unforgiving,
  "members that are missing for ever": faithful,
  "lists that stand at no known place": hasty,
  "members that cannot change what they say": deaf,
  "members that stay nobody": forgetsFaces,
  "deliveries forgotten with their connection": forgetful,
};
