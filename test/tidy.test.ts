/**
 * The house rules, read from the source. Every check has a canary: an input that it must flag, so that
 * no check can pass because it looks at nothing.
 */
import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import packageJson from "../package.json";
import {
  circles,
  loadedByClients,
  undeclared,
  unreached,
  wrongDirections,
} from "./tidy/imports.ts";
import { metricsTableFaults, queueTableFaults, settingsTableFaults } from "./tidy/operating.ts";
import {
  brokenLinks,
  closeCodeFaults,
  errorTableFaults,
  fenceFaults,
  lifeOfAMessageFaults,
  limitsTableFaults,
  lockFileFaults,
  lostPapers,
  unknownClauses,
  unprovenClauses,
} from "./tidy/papers.ts";
import { functionsOf, longFiles, longFunctions, longLines } from "./tidy/shape.ts";
import {
  type Finding,
  filesBelow,
  ROOT,
  readSources,
  readText,
  type Source,
  source,
} from "./tidy/sources.ts";
import { unshownThreats } from "./tidy/threats.ts";
import {
  bannedCalls,
  headless,
  leftovers,
  machinePaths,
  sleeps,
  vagueNames,
} from "./tidy/words.ts";

const broker = readSources("src", "schemas");
const tests = readSources("test");
const examples = readSources("examples");
const besides = [...examples, ...readSources("bench")];
// The checks themselves and their canaries name what they ban.
const isAboutRules = ({ path }: Source) => /^test\/tidy(\.test\.ts$|\/)|^test\/ci\.test/.test(path);
const everything = [...broker, ...tests.filter((file) => !isAboutRules(file)), ...besides];
const papers = [
  "README.md",
  "CONTRIBUTING.md",
  "CHANGELOG.md",
  ...filesBelow("docs").filter((path) => path.endsWith(".md")),
].map((path) => source(path, readText(path)));
const protocol = readText("docs/PROTOCOL.md");
const operating = readText("docs/OPERATING.md");

const QUEUE_TABLE = "| queue setting | default | what |\n|---|---|---|\n";
const TICKS = "```";
const lines = (count: number) => "x();\n".repeat(count);
const one = (path: string, text: string) => [source(path, text)];
const wordless = (word: string) => `// ${word}: later\n`;

const threat = (shownBy: string) =>
  `## Threats\n\n| threat | what | shown | left |\n|---|---|---|---|\n| t | d | ${shownBy} | |\n`;

type Look = () => readonly Finding[] | Promise<readonly Finding[]>;

interface Rule {
  readonly what: string;
  readonly findings: Look;
  /** Each must be flagged. */
  readonly canaries: Readonly<Record<string, Look>>;
  /** Each must not. */
  readonly innocent?: Readonly<Record<string, Look>>;
}

const imports = (path: string, target: string) =>
  wrongDirections(one(path, `import { x } from "${target}";\n`));
const banned = (text: string, path = "src/broker/x.ts") => bannedCalls(one(path, text));

const RULES: readonly Rule[] = [
  {
    what: "imports go to the right: listeners, protocols, session, broker, engine, leaves",
    findings: () => wrongDirections(broker),
    canaries: {
      leftwards: () => imports("src/broker/x.ts", "../session/session.ts"),
      "past the seam": () => imports("src/broker/x.ts", "../engine/sqlite/store.ts"),
      "a leaf upwards": () => imports("src/topic.ts", "./broker/broker.ts"),
      "schemas into src": () => imports("schemas/x.ts", "../src/errors.ts"),
      "into a door": () => imports("src/session/x.ts", "../main.ts"),
      "sqlite elsewhere": () => imports("src/broker/x.ts", "bun:sqlite"),
      "drizzle elsewhere": () => imports("src/main.ts", "drizzle-orm/bun-sqlite"),
      "no ending": () => imports("src/broker/x.ts", "../errors"),
      "tests from src": () => imports("src/broker/x.ts", "../../test/harness/x.ts"),
      "a structure upwards": () => imports("src/collections/x.ts", "../message.ts"),
      "a room without a rule": () => imports("src/shed/x.ts", "../engine/engine.ts"),
      "by import()": () => wrongDirections(one("src/engine/x.ts", 'import("../main.ts")')),
      "as a worker": () =>
        wrongDirections(one("src/engine/x.ts", 'new URL("../session/x.ts", import.meta.url)')),
    },
    innocent: {
      rightwards: () => imports("src/session/x.ts", "../broker/broker.ts"),
      seam: () => imports("src/broker/x.ts", "../engine/engine.ts"),
      "in a comment": () => wrongDirections(one("src/engine/x.ts", '// from "../main.ts"\n')),
      "in a string": () => wrongDirections(one("src/engine/x.ts", "x('from \"../main.ts\"');")),
    },
  },
  {
    what: "no circles of imports, save for types between a whole and its parts",
    findings: () => circles(broker),
    canaries: {
      "for types": () =>
        circles([
          source("src/broker/a.ts", 'import type { B } from "./b.ts";'),
          source("src/broker/b.ts", 'import type { A } from "./a.ts";'),
        ]),
      "by way of a third, loaded, in what is knit": () =>
        circles([
          source("src/session/a.ts", 'import { b } from "./b.ts";'),
          source("src/session/b.ts", 'import { c } from "./c.ts";'),
          source("src/session/c.ts", 'import { a } from "./a.ts";'),
        ]),
    },
    innocent: {
      "for types, in what is knit": () =>
        circles([
          source("src/session/a.ts", 'import { b } from "./b.ts";'),
          source("src/session/b.ts", 'import type { A } from "./a.ts";'),
        ]),
    },
  },
  {
    what: "what the broker imports is installed with it",
    findings: () => undeclared(broker, packageJson.dependencies),
    canaries: { ws: () => undeclared(one("src/x.ts", 'import "ws";'), { pino: "1.0.0" }) },
    innocent: { sub: () => undeclared(one("src/x.ts", 'import "jose/x";'), { jose: "1.0.0" }) },
  },
  {
    what: "every file is reached from something that is started",
    findings: () => unreached(broker),
    canaries: {
      "an orphan": () =>
        unreached([source("src/main.ts", 'import "./a.ts"'), source("src/b.ts", "")]),
    },
    innocent: {
      reached: () => unreached([source("src/main.ts", 'import "./a.ts"'), source("src/a.ts", "")]),
    },
  },
  {
    what: "a command that only talks to a broker does not load one",
    findings: () => loadedByClients(broker),
    canaries: {
      "at once": () => loadedByClients(one("src/cli/main.ts", 'import { x } from "../main.ts";')),
    },
    innocent: {
      "when it runs": () => loadedByClients(one("src/cli/main.ts", 'await import("../main.ts");')),
      types: () => loadedByClients(one("src/cli/main.ts", 'import type { X } from "../main.ts";')),
    },
  },
  {
    what: "files are short",
    findings: () => longFiles([...broker, ...examples]),
    canaries: { "401 lines": () => longFiles(one("src/x.ts", lines(401))) },
    innocent: { "400 lines": () => longFiles(one("src/x.ts", lines(400))) },
  },
  {
    what: "lines are short",
    findings: () => longLines(everything),
    canaries: {
      code: () => longLines(one("src/x.ts", `${"x".repeat(101)}\n`)),
      comment: () => longLines(one("src/x.ts", `// ${"x".repeat(120)}\n`)),
    },
    innocent: { string: () => longLines(one("src/x.ts", `  x("${"x".repeat(110)}",\n`)) },
  },
  {
    what: "functions are short",
    findings: () => longFunctions([...broker, ...examples]),
    canaries: {
      function: () => longFunctions(one("src/x.ts", `function f(a: B): void {\n${lines(60)}}`)),
      method: () => longFunctions(one("src/x.ts", `class A {\n  async #f() {\n${lines(60)}}\n}`)),
      arrow: () => longFunctions(one("src/x.ts", `const f = (a) => {\n${lines(60)}};`)),
      expression: () => longFunctions(one("src/x.ts", `const f = (a) =>\n${"a +\n".repeat(60)}1;`)),
      "object type": () =>
        longFunctions(one("src/x.ts", `function f(): { a: B } | C<{ d: E }> {\n${lines(60)}}`)),
    },
    innocent: {
      "a long if": () => longFunctions(one("src/x.ts", `if (a) {\n${lines(80)}}`)),
      "a long object": () => longFunctions(one("src/x.ts", `f(a);\nconst x = {\n${lines(80)}}`)),
      "a ternary": () => longFunctions(one("src/x.ts", `a ? f(b) : {\n${lines(80)}}`)),
    },
  },
  {
    what: "time, chance, environment, console and the network have one home each",
    findings: () => bannedCalls(broker),
    canaries: {
      time: () => banned("Date.now()"),
      date: () => banned("new Date()"),
      chance: () => banned("Math.random()"),
      timer: () => banned("setTimeout(f, 1)"),
      immediate: () => banned("setImmediate(f)"),
      environment: () => banned("process.env.X"),
      "Bun's environment": () => banned("Bun.env.X", "src/cli/pub.ts"),
      console: () => banned("console.log(1)"),
      exit: () => banned("process.exit(1)"),
      server: () => banned("Bun.serve({})"),
      directive: () => banned("// @ts-ignore\n"),
      any: () => banned("const x: any = 1"),
    },
    innocent: {
      "at home": () => banned("Date.now()", "src/clock.ts"),
      "in a comment": () => banned("// unlike Date.now()\n"),
      "in a string": () => banned('"console.log"'),
      "in a template": () => banned(`\`Date.now() \${x}\``),
    },
  },
  {
    what: "nothing is left open",
    findings: () => leftovers(everything),
    canaries: {
      note: () => leftovers(one("src/x.ts", wordless("TODO"))),
      mend: () => leftovers(one("src/x.ts", wordless("FIXME"))),
      // Text that the check must flag, not a test: nothing is focused here.
      focused: () => leftovers(one("test/x.test.ts", "test.only('a', f)")),
    },
  },
  {
    what: "tests do not sleep",
    findings: () => sleeps(tests.filter((file) => !isAboutRules(file))),
    canaries: {
      sleep: () => sleeps(one("test/x.test.ts", "await Bun.sleep(5)")),
      promise: () => sleeps(one("test/x.test.ts", "new Promise((r) => setTimeout(r, 5))")),
    },
  },
  {
    what: "files are named for what they are",
    findings: () => vagueNames(everything),
    canaries: { utils: () => vagueNames(one("src/utils.ts", "")) },
  },
  {
    what: "a source begins with what it owns",
    findings: () => headless(broker),
    canaries: { bare: () => headless(one("src/x.ts", "export {};\n")) },
  },
  {
    what: "no path of anybody's machine",
    findings: () => machinePaths([...everything, ...papers]),
    canaries: { home: () => machinePaths(one("src/x.ts", `"/${"home"}/ann/x"`)) },
    innocent: { image: () => machinePaths(one("docs/x.md", "`/home/bun/app`")) },
  },
  {
    what: "the protocol's tables of errors and close codes are those of schemas/errors.ts",
    findings: () => [...errorTableFaults(protocol), ...closeCodeFaults(protocol)],
    canaries: {
      "a missing row": () =>
        errorTableFaults("", { lost: { status: 400, retry: false, meaning: "x" } }),
      "a wrong row": () =>
        errorTableFaults("| `lost` | 400 | yes |  | x |\n", {
          lost: { status: 400, retry: false, meaning: "x" },
        }),
      "a row too many": () => errorTableFaults("| `lost` | 400 | yes |  | x |\n", {}),
      "a close code": () => closeCodeFaults("", { lost: 4999 }),
    },
  },
  {
    what: "the protocol's table of limits is that of src/limits.ts",
    findings: () => limitsTableFaults(protocol),
    canaries: {
      "a missing row": () => limitsTableFaults("", { x: 1 }),
      "a wrong default": () => limitsTableFaults("| `x` | 1 000 things | y |\n", { x: 100 }),
    },
    innocent: { right: () => limitsTableFaults("| `x` | 1 000 things | y |\n", { x: 1000 }) },
  },
  {
    what: "every clause in force is cited by a test title",
    findings: () => unprovenClauses(protocol, tests),
    canaries: {
      uncited: () => unprovenClauses("- **P-9.9** it is so\n", one("test/x.ts", "// [P-9.9]")),
      // Text that the check must flag, not a test: nothing is skipped here.
      skipped: () =>
        unprovenClauses("- **P-9.9** it is so\n", one("test/x.ts", 'test.skip("[P-9.9] x")')),
    },
    innocent: {
      later: () => unprovenClauses("- **P-9.9** *(later)* it is so\n", []),
      cited: () =>
        unprovenClauses("- **P-9.9** it is so\n", one("test/x.ts", 'test("[P-9.8, P-9.9] x")')),
    },
  },
  {
    what: "every clause that is cited exists",
    findings: () => unknownClauses(protocol, everything),
    canaries: { unknown: () => unknownClauses("", one("src/x.ts", "/** See [P-9.9]. */")) },
  },
  {
    what: "the life of a message names what is in the source",
    findings: () =>
      lifeOfAMessageFaults(readText("docs/ARCHITECTURE.md"), (path) =>
        existsSync(join(ROOT, path)) ? readText(path) : undefined,
      ),
    canaries: {
      "too few hops": () => lifeOfAMessageFaults("", () => ""),
      "a lost name": () => lifeOfAMessageFaults("| 1 | `src/a.ts` `f` |\n".repeat(5), () => "f();"),
      "a lost file": () =>
        lifeOfAMessageFaults("| 1 | `src/a.ts` `f` |\n".repeat(5), () => undefined),
    },
    innocent: {
      there: () =>
        lifeOfAMessageFaults("| 1 | `src/a.ts` `f` |\n".repeat(5), () => "  async f(x) {}"),
    },
  },
  {
    what: "the operator's tables of settings and metrics are those of the code",
    findings: async () => [
      ...settingsTableFaults(operating),
      ...(await metricsTableFaults(operating)),
    ],
    canaries: {
      settings: () => settingsTableFaults(""),
      "a setting too many": () => settingsTableFaults("| `x.y` | `WARREN_X_Y` |  |  | z |\n", []),
      metrics: () => metricsTableFaults(""),
    },
  },
  {
    what: "the operator's table of queue settings is that of schemas/queue.ts",
    findings: () => queueTableFaults(operating),
    canaries: {
      "no table": () => queueTableFaults("| `x` | 1 000 | y |", [{ path: "x", default: 1000 }]),
      "a row too many": () => queueTableFaults(`${QUEUE_TABLE}| \`y\` | 1 | z |`, []),
      "a wrong default": () =>
        queueTableFaults(`${QUEUE_TABLE}| \`x\` | 1 000 | y |`, [{ path: "x", default: 100 }]),
      "a word for another": () =>
        queueTableFaults(`${QUEUE_TABLE}| \`x\` | \`a\` | y |`, [{ path: "x", default: "b" }]),
      "a real setting": () => queueTableFaults(operating.replace("| `backoff.minMs` |", "| `x` |")),
    },
    innocent: {
      right: () =>
        queueTableFaults(`${QUEUE_TABLE}| \`x\` | 1 000 | y |\n| \`z\` | 0.2 | y |`, [
          { path: "x", default: 1000 },
          { path: "z", default: 0.2 },
        ]),
      "without a default": () =>
        queueTableFaults(`${QUEUE_TABLE}| \`x\` | no bound | y |`, [
          { path: "x", default: undefined },
        ]),
    },
  },
  {
    what: "links in the papers lead somewhere",
    findings: () => papers.flatMap(({ path, text }) => brokenLinks(path, text)),
    canaries: { lost: () => brokenLinks("docs/x.md", "[x](lost.md#y)") },
  },
  {
    what: "each threat is shown by tests that there are",
    findings: () => unshownThreats(readText("docs/SECURITY.md"), tests),
    canaries: {
      "no table": () => unshownThreats("# Security\n", tests),
      "no test": () => unshownThreats(threat(""), one("test/x.ts", 'test("[P-1.1] it holds")')),
      gone: () => unshownThreats(threat("`it holds`"), one("test/x.ts", 'test("it held")')),
      "only said": () => unshownThreats(threat("`it holds`"), one("test/x.ts", "// it holds")),
    },
    innocent: {
      shown: () =>
        unshownThreats(threat("`it holds`"), one("test/x.ts", 'test("it holds", () => 1)')),
      described: () =>
        unshownThreats(threat("`a`, `b`"), one("test/x.ts", 'describe("a"); test("b")')),
    },
  },
  {
    what: "papers that the source names are there",
    findings: () => lostPapers(everything, filesBelow("docs")),
    canaries: { lost: () => lostPapers(one("src/x.ts", "// docs/decisions/9999"), ["docs/a.md"]) },
    innocent: { number: () => lostPapers(one("src/x.ts", "// docs/a"), ["docs/a-b.md"]) },
  },
  {
    what: "shell blocks in the papers are run by a test",
    findings: () => papers.flatMap(({ path, text }) => fenceFaults(path, text)),
    canaries: { bash: () => fenceFaults("x.md", `${TICKS}bash\nls\n${TICKS}\n`) },
  },
  {
    what: "the lock file holds no addresses",
    findings: () => lockFileFaults(readText("package-lock.json")),
    canaries: {
      resolved: () => lockFileFaults('"resolved": "x"'),
      tarball: () => lockFileFaults('"https://example.test/a-1.0.0.tgz"'),
    },
  },
];

for (const rule of RULES) {
  describe(rule.what, () => {
    test("in this repository", async () => {
      expect(await rule.findings()).toEqual([]);
    });
    for (const [name, look] of Object.entries(rule.canaries)) {
      test(`canary: ${name}`, async () => expect(await look()).not.toEqual([]));
    }
    for (const [name, look] of Object.entries(rule.innocent ?? {})) {
      test(`innocent: ${name}`, async () => expect(await look()).toEqual([]));
    }
  });
}

test("the scanner finds the functions of a source with everything in it", () => {
  const text = [
    "function a(x: number): x is 1 {",
    `  return /[(]{/.test(\`{\${b({ y: \`}\` })}\`) || x > 1;`,
    "}",
    "const c = async <T>(y: T): Promise<{ z: T }> => ({ z: y });",
    "class D { constructor(readonly e = 1) {} get f() { return '}'; } }",
  ].join("\n");
  expect(functionsOf(source("src/x.ts", text)).map(({ name }) => name)).toEqual([
    "a",
    "c",
    "constructor",
    "f",
  ]);
});
