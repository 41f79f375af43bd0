/** Fenced blocks of a paper, and what its info string asks of the test that runs them. */

/**
 * ```` ```sh ````            is run, one shell for all such blocks of a paper in turn
 * ```` ```sh start ````      starts the broker that the other blocks talk to
 * ```` ```sh background ```` is another terminal: started and left running
 * ```` ```sh not run: … ```` is not run, for the reason that it gives
 * A ```` ```text ```` block right behind one of these is what it prints, `…` standing for anything;
 * ```` ```text background ```` is what the other terminal has printed by then.
 */
export type Kind = "run" | "start" | "background" | "not run";

export interface Block {
  readonly kind: Kind;
  readonly line: number;
  readonly commands: string;
  prints?: string;
}

const FENCED = /^```(\w*)([^\n]*)\n([\s\S]*?)^```$/gm;

export function shellBlocks(paper: string): Block[] {
  const blocks: Block[] = [];
  // Where the fence before this one ended, if that was a shell's.
  let shellEnded = -1;
  for (const { 0: whole, 1: language, 2: rest, 3: body, index } of paper.matchAll(FENCED)) {
    const info = rest!.trim();
    const between = paper.slice(Math.max(shellEnded, 0), index);
    if (language === "sh") {
      const line = paper.slice(0, index).split("\n").length;
      blocks.push({ kind: kindOf(info, line), line, commands: body! });
    } else if (language === "text") {
      const isNext = shellEnded >= 0 && between.trim() === "";
      const other = blocks.findLast(({ kind }) => kind === "background");
      const printer = info === "background" ? other : isNext ? blocks.at(-1) : undefined;
      if (printer !== undefined) printer.prints = body!;
    }
    shellEnded = language === "sh" ? index + whole.length : -1;
  }
  return blocks;
}

function kindOf(info: string, line: number): Kind {
  if (info === "") return "run";
  if (info === "start" || info === "background") return info;
  if (/^not run: \S/.test(info)) return "not run";
  throw new Error(`line ${line}: a shell block cannot be "${info}"`);
}

/** The first expected line that is not in the output in its turn; undefined when all are. */
export function missingLine(output: string, expected: string): string | undefined {
  const lines = output.split("\n");
  for (const want of expected.trimEnd().split("\n")) {
    const pattern = new RegExp(`^${want.trim().split("…").map(RegExp.escape).join(".*")}$`);
    const at = lines.findIndex((line) => pattern.test(line.trim()));
    if (at < 0) return want;
    lines.splice(0, at + 1);
  }
  return undefined;
}
