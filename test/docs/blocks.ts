/** Fenced blocks of a paper, and what its info string asks of the test that runs them. */

/**
 * ```` ```sh ````            is run, one shell for all such blocks of a paper in turn
 * ```` ```sh start ````      starts the broker that the other blocks talk to
 * ```` ```sh background ```` is another terminal: started and left running
 * ```` ```sh not run: … ```` is not run, for the reason that it gives
 * A ```` ```text ```` block right behind one of these is what it prints, `…` standing for anything.
 */
export type Kind = "run" | "start" | "background" | "not run";

export interface Block {
  readonly kind: Kind;
  readonly line: number;
  readonly commands: string;
  readonly prints?: string;
}

const FENCED = /^```(\w*)([^\n]*)\n([\s\S]*?)^```$/gm;

export function shellBlocks(paper: string): Block[] {
  const fences = [...paper.matchAll(FENCED)];
  return fences.flatMap((fence, i) => {
    if (fence[1] !== "sh") return [];
    const next = fences[i + 1];
    const between = next && paper.slice(fence.index + fence[0].length, next.index);
    const prints = next?.[1] === "text" && between?.trim() === "" ? next[3] : undefined;
    const line = paper.slice(0, fence.index).split("\n").length;
    const block = { kind: kindOf(fence[2]!.trim(), line), line, commands: fence[3]! };
    return [prints === undefined ? block : { ...block, prints }];
  });
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
