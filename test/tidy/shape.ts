/** How long things are: files, lines, functions. */
import { type Finding, finding, lineOf, type Source } from "./sources.ts";

const FILE_LINES = 400;
const FUNCTION_LINES = 60;
const CODE_COLUMNS = 100;
/** A formatter wraps neither prose nor strings; a few columns over are not worth a rule for people. */
const TEXT_COLUMNS = 120;

export function longFiles(files: readonly Source[]): Finding[] {
  return files.flatMap((file) => {
    const lines = file.text.trimEnd().split("\n").length;
    if (lines <= FILE_LINES) return [];
    return [
      `${file.path}:1: has ${lines} lines, over ${FILE_LINES}; look for the second noun in it`,
    ];
  });
}

export function longLines(files: readonly Source[]): Finding[] {
  return files.flatMap((file) => {
    const code = file.code.split("\n");
    return file.text.split("\n").flatMap((line, i) => {
      // What is blank inside the line was a string or a comment.
      const codeColumns = code[i]!.trimEnd().replace(/(?<=\S) {2,}/g, "").length;
      if (line.length <= TEXT_COLUMNS && codeColumns <= CODE_COLUMNS) return [];
      return [`${file.path}:${i + 1}: has ${line.length} columns; break it`];
    });
  });
}

export function longFunctions(files: readonly Source[]): Finding[] {
  return files.flatMap((file) =>
    functionsOf(file).flatMap(({ start, end, name }) => {
      const lines = lineOf(file.text, end) - lineOf(file.text, start) + 1;
      if (lines <= FUNCTION_LINES) return [];
      return [finding(file, start, `${name} has ${lines} lines, over ${FUNCTION_LINES}; split it`)];
    }),
  );
}

export interface FunctionSpan {
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

const CONTROL = /\b(if|for|while|switch|catch|with)\s*(await\s*)?$/;

/** Every function, method and arrow function: from its parameters to the end of its body. */
export function functionsOf(file: Source): FunctionSpan[] {
  const { code } = file;
  const spans: FunctionSpan[] = [];
  for (let at = code.indexOf("("); at >= 0; at = code.indexOf("(", at + 1)) {
    if (CONTROL.test(code.slice(Math.max(0, at - 20), at))) continue;
    const close = endOfGroup(code, at);
    const body = bodyAfter(code, close + 1);
    if (body === undefined) continue;
    spans.push({ name: nameBefore(code, at), start: at, end: body });
  }
  return spans;
}

/** The index of the bracket that closes the one at `open`. */
function endOfGroup(code: string, open: number): number {
  let depth = 0;
  for (let at = open; at < code.length; at++) {
    if ("([{".includes(code[at]!)) depth++;
    else if (")]}".includes(code[at]!) && --depth === 0) return at;
  }
  return code.length - 1;
}

/**
 * After a parameter list: the end of the function's body, or undefined when this was no parameter list.
 * Passes over a return type, in which `{` begins an object type where a type is still expected.
 */
function bodyAfter(code: string, from: number): number | undefined {
  let typeExpected = false;
  let inType = false;
  for (let at = from; at < code.length; at++) {
    const char = code[at]!;
    if (/\s/.test(char)) continue;
    if (char === "=" && code[at + 1] === ">" && !typeExpected) return endOfArrow(code, at + 2);
    if (char === "{" && !typeExpected) return endOfGroup(code, at);
    if ("({[".includes(char) && inType) {
      at = endOfGroup(code, at);
      typeExpected = false;
    } else if (":|&<".includes(char) && (inType || char === ":")) {
      inType = true;
      typeExpected = true;
    } else if (inType && /[\w$."'`>?\]]/.test(char)) typeExpected = false;
    else if (inType && char === "," && /<[^>]*$/.test(code.slice(from, at))) typeExpected = true;
    else return undefined;
  }
  return undefined;
}

/** The end of an arrow function: of its block, or of its expression. */
function endOfArrow(code: string, from: number): number {
  let at = from;
  while (/\s/.test(code[at] ?? "")) at++;
  if (code[at] === "{") return endOfGroup(code, at);
  for (; at < code.length; at++) {
    if ("([{".includes(code[at]!)) at = endOfGroup(code, at);
    else if (/[;,)\]}]/.test(code[at]!)) return at;
  }
  return code.length - 1;
}

function nameBefore(code: string, at: number): string {
  const before = code.slice(Math.max(0, at - 120), at).replace(/\s*(?:<[^<>]*>)?\s*$/, "");
  const assigned = /([#\w$]+)\s*[:=]\s*(?:async)?$/.exec(before)?.[1];
  const named = /([#\w$]+)$/.exec(before)?.[1];
  return assigned ?? (named === undefined || named === "function" ? "a function" : named);
}
