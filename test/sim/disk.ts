/**
 * The writer and its disk in a simulation: the broker's own code on a database in memory, with commits
 * that take their time, fail, or happen without anybody being told.
 */
import { Database } from "bun:sqlite";
import type { Random } from "../../src/clock.ts";
import { bringUpToDate, type OpenDatabase } from "../../src/engine/sqlite/database.ts";
import { StoreDesk } from "../../src/engine/sqlite/desk.ts";
import type { WriterReply, WriterRequest } from "../../src/engine/sqlite/exchange.ts";
import type { StartWriter, Writer } from "../../src/engine/sqlite/thread.ts";
import type { SimTime } from "./time.ts";

type Reply = (reply: WriterReply) => void;

/** The tables, made once for all simulations. */
let empty: Buffer | undefined;

function emptyFile(): Buffer {
  if (empty === undefined) {
    const database = new Database(":memory:", { strict: true });
    bringUpToDate(database);
    empty = database.serialize();
    database.close();
  }
  return empty;
}

/** The longest that a request takes on a good day. */
const USUAL_MS = 3;

/** What the disk does to commits at present. */
export interface DiskMood {
  /** Writing fails, reading does not. */
  failing: boolean;
  /** The longest that a request takes. */
  slowMs: number;
  /** Now and then it says that it has written, and has not. */
  lies: boolean;
}

/** Of the commits of a disk that lies, so many are lies. */
const LIES = 0.05;

export class SimDisk {
  readonly database = Database.deserialize(emptyFile(), { strict: true } as never);
  readonly mood: DiskMood = { failing: false, slowMs: USUAL_MS, lies: false };
  readonly time: SimTime;
  readonly random: Random;
  /** The writer that is at work, in the broker's present life. */
  #writer: SimWriter | undefined;

  constructor(time: SimTime, random: Random) {
    this.time = time;
    this.random = random;
    this.#failAtCommits();
  }

  /** A disk that is full is so at the end of a transaction, which the broker then has to undo. */
  #failAtCommits(): void {
    const { database, mood } = this;
    const prepare = database.prepare.bind(database);
    database.prepare = ((text: string) => {
      const statement = prepare(text);
      if (text !== "COMMIT") return statement;
      const run = statement.run.bind(statement);
      statement.run = () => {
        if (mood.failing) throw Object.assign(new Error(), { code: "SQLITE_FULL" });
        if (mood.lies && this.random() < LIES) return prepare("ROLLBACK").run();
        return run();
      };
      return statement;
    }) as typeof database.prepare;
  }

  readonly start: StartWriter = (onLost) => {
    this.#writer = new SimWriter(this, onLost);
    return this.#writer;
  };

  /** The thread ends: with `committed` after doing what it was at, whose answer is lost then. */
  loseWriter(committed: boolean): boolean {
    return this.#writer?.lose(committed) ?? false;
  }

  /** The next commit happens, and the thread ends before it can say so. */
  loseAnswer(noted: () => void): void {
    this.#writer?.loseAnswer(noted);
  }

  get hasWriter(): boolean {
    return this.#writer?.over === false;
  }

  wellAgain(): void {
    this.#writer?.loseAnswer(undefined);
    this.mood.failing = false;
    this.mood.slowMs = USUAL_MS;
  }

  /** The process ends, and the writer with it wherever it was. */
  powerOff(): void {
    this.#writer?.stop();
    this.#writer = undefined;
    if (this.database.inTransaction) this.database.run("ROLLBACK");
  }

  [Symbol.dispose](): void {
    this.database.close();
  }
}

class SimWriter implements Writer {
  readonly #disk: SimDisk;
  readonly #onLost: (reason: string) => void;
  readonly #desk: StoreDesk;
  readonly #waiting: { readonly request: WriterRequest; readonly reply: Reply }[] = [];
  /** Done, with the answer on its way. */
  #answers = 0;
  #busy = false;
  /** Set when the answer of the next commit is to be lost. */
  #noted: (() => void) | undefined;
  over = false;

  constructor(disk: SimDisk, onLost: (reason: string) => void) {
    this.#disk = disk;
    this.#onLost = onLost;
    const { database } = disk;
    const open = (): OpenDatabase => ({
      database,
      inode: 0,
      assertInPlace: () => {},
      close: () => {},
    });
    this.#desk = new StoreDesk(open);
  }

  request(request: WriterRequest, reply: Reply): void {
    this.#waiting.push({ request, reply });
    this.#work();
  }

  stop(): void {
    this.over = true;
  }

  loseAnswer(noted: (() => void) | undefined): void {
    this.#noted = noted;
  }

  lose(committed: boolean): boolean {
    if (this.over) return false;
    const next = this.#waiting[0];
    if (committed && next !== undefined && this.#answers === 0) this.#desk.answer(next.request);
    this.over = true;
    const fault = { reason: "the writer thread was lost", advice: "", lasting: false };
    this.#onLost(fault.reason);
    for (const { reply } of this.#waiting.splice(0)) reply({ kind: "failed", fault });
    return true;
  }

  #work(): void {
    const next = this.#waiting[0];
    if (this.#busy || next === undefined) return;
    this.#busy = true;
    this.#after(() => {
      const answer = this.#desk.answer(next.request);
      this.#answers++;
      if (answer.kind === "committed" && this.#noted !== undefined) {
        this.#noted();
        this.lose(false);
        return;
      }
      this.#after(() => {
        this.#answers--;
        this.#busy = false;
        this.#waiting.shift();
        next.reply(answer);
        this.#work();
      });
    });
  }

  #after(action: () => void): void {
    const { time, random, mood } = this.#disk;
    time.after(Math.floor(random() * (mood.slowMs + 1)), () => {
      if (!this.over) action();
    });
  }
}
