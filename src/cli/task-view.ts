/** Redrives and replays as the command line makes, follows and shows them [P-13.10]. */
import { systemClock } from "../clock.ts";
import { ask } from "./admin-client.ts";
import { type Flags, type Input, integerFlag, textFlag } from "./command.ts";
import { FILTER_FLAGS, filtersOf, timeFlag } from "./message-filters.ts";
import { counted } from "./queue-view.ts";
import { brief, table } from "./terminal.ts";

export interface Task {
  readonly id: string;
  readonly kind: "redrive" | "replay";
  readonly queue: string;
  readonly state: string;
  readonly dryRun: boolean;
  readonly moved: number;
  readonly held: number;
  readonly failed: number;
  readonly total?: number;
  readonly reason?: string;
}

/** Until a task that is waited for is asked after again. */
const ASK_AGAIN_MS = 200;

const TIME = "a date, or milliseconds since 1970";

export const TASK_FLAGS: Flags = {
  ...FILTER_FLAGS,
  after: { type: "string", value: "TIME", help: `Only since then: ${TIME}.` },
  before: { type: "string", value: "TIME", help: `Only until then: ${TIME}.` },
  limit: { type: "string", value: "N", help: "At most so many." },
  rate: { type: "string", value: "N", help: "So many a second." },
  to: { type: "string", value: "QUEUE", help: "Into this queue; else the one they were in." },
  "dry-run": { type: "boolean", help: "Only count them." },
  wait: { type: "boolean", help: "Come back when it has ended; exit code 1 unless it is done." },
};

/** Makes the task that the flags describe and tells of it; resolves to the exit code. */
export async function begin(input: Input, path: string, kind: Task["kind"]): Promise<number> {
  const ids = input.args.slice(1);
  const verb = kind === "redrive" ? "died" : "acked";
  const fields = {
    ids: ids.length === 0 ? undefined : ids,
    [`${verb}After`]: timeFlag(input, "after"),
    [`${verb}Before`]: timeFlag(input, "before"),
    limit: integerFlag(input, "limit", 1),
    ratePerSecond: integerFlag(input, "rate", 1),
    to: textFlag(input, "to"),
    dryRun: input.flags["dry-run"] === true ? true : undefined,
  };
  const body = { ...filtersOf(input), ...fields };
  let task = await ask<Task>(input, "POST", path, body);
  if (input.flags.wait === true) task = await ended(input, task);
  tellTask(input, task);
  return input.flags.wait === true && task.state !== "done" ? 1 : 0;
}

export function tellTask({ terminal }: Input, task: Task): void {
  if (terminal.json) terminal.object(task);
  else terminal.line(sentenceOf(task));
}

export function sentenceOf({ id, kind, state, dryRun, moved, held, failed, reason }: Task): string {
  const heldBack =
    held === 0 ? "" : `; ${held} are held, having died there too often: name them to send them`;
  const tooLarge = failed === 0 ? "" : `; ${failed} are too large for the queue`;
  const rest = `${heldBack}${tooLarge}`;
  if (dryRun) return `${counted(moved, "message")} would go${rest}`;
  const verb = kind === "redrive" ? "moved" : "copied";
  const count = `${verb} ${counted(moved, "message")}${rest}`;
  if (state === "done") return count;
  const why = reason === undefined ? "" : ` (${brief(reason)})`;
  return `task ${id} is ${state}${why}: ${count}; see: warren dead tasks`;
}

export function printTasks({ terminal }: Input, tasks: readonly Task[]): void {
  if (terminal.json) {
    for (const task of tasks) terminal.object(task);
  } else if (tasks.length === 0) {
    terminal.line("There are no tasks.");
  } else {
    const titles = ["TASK", "KIND", "QUEUE", "STATE", "MOVED", "HELD", "FAILED", "OF", "WHY"];
    const rows = tasks.map(({ id, kind, queue, state, moved, held, failed, total, reason }) => {
      return [id, kind, queue, state, moved, held, failed, total ?? moved, brief(reason ?? "")];
    });
    terminal.line(table(terminal, titles, rows));
  }
}

async function ended(input: Input, task: Task): Promise<Task> {
  let now = task;
  while (now.state === "running") {
    await new Promise<void>((resolve) => systemClock.after(ASK_AGAIN_MS, resolve));
    const before = now.reason;
    now = await ask<Task>(input, "GET", `/admin/v1/tasks/${task.id}`);
    const { reason } = now;
    if (reason !== undefined && reason !== before) input.terminal.note(`waits: ${brief(reason)}`);
  }
  return now;
}
