/**
 * The tables, as drizzle knows them; `drizzle-kit generate` makes the migrations beside this file.
 *
 * `messages` is laid out for the happy path, one insert and one delete by rowid and no index in
 * between (docs/decisions/0004): the rowid holds the order in which a queue hands out.
 */
import { sql } from "drizzle-orm";
import { blob, index, integer, sqliteTable, text, uniqueIndex } from "drizzle-orm/sqlite-core";

/** Every queue, with the totals of its messages: kept in the same transactions, so that a start need not count. */
export const queues = sqliteTable("queues", {
  /** Small and stable: the upper bits of its messages' ids. */
  number: integer("number").primaryKey(),
  name: text("name").notNull().unique(),
  settings: text("settings").notNull(),
  bindings: text("bindings").notNull(),
  createdAt: integer("created_at").notNull(),
  /** The queue whose dead letters this one keeps. */
  deadLetterOf: text("dead_letter_of"),
  messages: integer("messages").notNull().default(0),
  bytes: integer("bytes").notNull().default(0),
  /** What is kept of acked messages. */
  ackedMessages: integer("acked_messages").notNull().default(0),
  ackedBytes: integer("acked_bytes").notNull().default(0),
});

export const messages = sqliteTable(
  "messages",
  {
    /** lane << 44 | sequence, where lane = queue number << 4 | (9 - priority): ascending is the order of delivery. */
    id: integer("id").primaryKey(),
    /** Attempts that have been counted. Being in flight is not written: after a crash it is ready again. */
    attempts: integer("attempts").notNull().default(0),
    /** Set for a message that waits for a time; it joins the line when that has come. */
    dueAt: integer("due_at"),
    /** Set only for a message that expires sooner than its queue's `ttlMs` says. */
    expiresAt: integer("expires_at"),
    /** Topic, a zero character and id of a message that waits for its first due time [P-5.13]. */
    scheduled: text("scheduled"),
    /** Set in a queue with ordering: its number, a colon, the message's key: see decision 0014. */
    ordering: text("ordering"),
    /** One line of JSON (id, topic, time, headers, deaths …), a newline, the payload: see record.ts. */
    record: blob("record", { mode: "buffer" }).notNull(),
  },
  (table) => [
    // Partial: rows without such a time, nearly all, are in neither index.
    index("messages_due").on(table.dueAt).where(sql`${table.dueAt} is not null`),
    index("messages_expiry").on(table.expiresAt).where(sql`${table.expiresAt} is not null`),
    index("messages_scheduled").on(table.scheduled).where(sql`${table.scheduled} is not null`),
    // By key, then by what it waits for (see heads.ts), then by age, whatever the priority.
    index("messages_ordering")
      .on(
        table.ordering,
        sql`(CASE WHEN "due_at" IS NULL THEN 0 WHEN "attempts" > 0 THEN 1 ELSE 2 END)`,
        sql`("id" & 17592186044415)`,
      )
      .where(sql`${table.ordering} is not null`),
  ],
);

/** Acked messages of queues that keep them [P-5.15]. */
export const acked = sqliteTable("acked", {
  /** lane << 44 | n, with the lane of the queue's highest priority: ascending is the order of acking. */
  id: integer("id").primaryKey(),
  attempts: integer("attempts").notNull(),
  ackedAt: integer("acked_at").notNull(),
  record: blob("record", { mode: "buffer" }).notNull(),
});

/** Message ids that publishers chose, for as long as a repetition counts as a duplicate [P-3.5]. */
export const recentIds = sqliteTable(
  "recent_ids",
  {
    /** topic, a zero character, message id. */
    key: text("key").primaryKey(),
    expiresAt: integer("expires_at").notNull(),
  },
  (table) => [index("recent_ids_expiry").on(table.expiresAt)],
);

/** Small records by collection and key, in the order of their first writing (src/engine/records.ts). */
export const records = sqliteTable(
  "records",
  {
    number: integer("number").primaryKey(),
    collection: text("collection").notNull(),
    key: text("key").notNull(),
    /** JSON. */
    value: text("value").notNull(),
  },
  (table) => [uniqueIndex("records_key").on(table.collection, table.key)],
);

/** The audit trail: oldest first, numbered without gaps, so that those beyond the bound are a range. */
export const audit = sqliteTable("audit", {
  number: integer("number").primaryKey(),
  /** JSON of an AuditEntry. */
  entry: text("entry").notNull(),
});

/** Topics of which something is kept besides the queues (docs/decisions/0032, 0037). */
export const topics = sqliteTable(
  "topics",
  {
    /** The upper bits of the ids of its history; given again when the topic was forgotten. */
    number: integer("number").primaryKey(),
    topic: text("topic").notNull().unique(),
    /** With the name of the store its epoch. */
    generation: integer("generation").notNull(),
    /** The newest offset that was given, 0 for none; the history ends with it and has no gaps. */
    lastOffset: integer("last_offset").notNull(),
    messages: integer("messages").notNull(),
    bytes: integer("bytes").notNull(),
    /** Of all records that its history ever had. */
    writtenBytes: integer("written_bytes").notNull(),
    changedAt: integer("changed_at").notNull(),
    /** The channel that it counts for; empty for none. */
    channel: text("channel").notNull().default(""),
    /** Whether it has a retained value. */
    isRetained: integer("is_retained", { mode: "boolean" }).notNull().default(false),
    /** Before this time nothing of it goes by age alone; null: nothing ever does. */
    dueAt: integer("due_at"),
  },
  (table) => [
    index("topics_due").on(table.dueAt).where(sql`${table.dueAt} is not null`),
    // Those with nothing left, the one that changed longest ago first.
    index("topics_idle")
      .on(table.channel, table.changedAt)
      .where(sql`${table.messages} = 0 and ${table.isRetained} = 0`),
  ],
);

/** How many topics count for each channel, so that a start need not count. */
export const keptChannels = sqliteTable("kept_channels", {
  name: text("name").primaryKey(),
  topics: integer("topics").notNull(),
  historyBytes: integer("history_bytes").notNull(),
});

/** The messages of topics that keep a history [P-8]. */
export const history = sqliteTable("history", {
  /** topic number << 36 | offset */
  id: integer("id").primaryKey(),
  /** When it was published, or the older one before it, if that was later. */
  time: integer("time").notNull(),
  /** Of all records of the topic before it: how many there are between two is a difference. */
  bytesBefore: integer("bytes_before").notNull(),
  record: blob("record", { mode: "buffer" }).notNull(),
});

/** The retained value of each topic that has one [P-4.4]. */
export const retained = sqliteTable("retained", {
  /** Of the topic. */
  number: integer("number").primaryKey(),
  topic: text("topic").notNull().unique(),
  expiresAt: integer("expires_at"),
  record: blob("record", { mode: "buffer" }).notNull(),
});

/** One row: what the epochs of topics begin with, and the totals, so that a start need not count. */
export const keeping = sqliteTable("keeping", {
  id: integer("id").primaryKey(),
  /** Another one whenever offsets that were given may have been lost. */
  store: text("store").notNull(),
  /** The inode of the file: of a copy it is another one. */
  inode: integer("inode").notNull(),
  /** The boot of the machine in which commits may not have reached the disk; null when all have. */
  unsyncedBoot: text("unsynced_boot"),
  /** Of a topic that is not known; rises when one is forgotten. */
  generation: integer("generation").notNull(),
  topics: integer("topics").notNull(),
  historyMessages: integer("history_messages").notNull(),
  historyBytes: integer("history_bytes").notNull(),
  retainedMessages: integer("retained_messages").notNull(),
});

/** Written by the probe that finds out whether a store that failed can be written to again. */
export const health = sqliteTable("health", {
  id: integer("id").primaryKey(),
  probedAt: integer("probed_at").notNull(),
});
