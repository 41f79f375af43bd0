/**
 * TypeScript text with what is not code blanked out, so that the checks can look for words and braces
 * without being fooled by comments, strings and regular expressions. Lengths and lines stay the same.
 */

const BLANK = /[^\n]/g;
const REGEX_AFTER = /(?:[(,=:[!&|?{};+\-*%~^<>]|\b(?:return|typeof|case|in|of|await|yield))\s*$/;

/** Every comment, and the inside of every string, template text and regular expression, as spaces. */
export function maskCode(text: string): string {
  let out = "";
  let at = 0;
  // For each open template, how many braces are open in the `${…}` being read.
  const templates: number[] = [];

  const blankTo = (end: number) => {
    out += text.slice(at, end).replace(BLANK, " ");
    at = end;
  };
  const copy = (length: number) => {
    out += text.slice(at, at + length);
    at += length;
  };
  const templateText = () => {
    const end = endOfTemplateText(text, at);
    blankTo(end);
    if (text[at] === "$") {
      templates.push(0);
      copy(2);
    } else copy(1);
  };

  while (at < text.length) {
    const char = text[at]!;
    const pair = text.slice(at, at + 2);
    if (pair === "//") blankTo(indexOr(text, "\n", at));
    else if (pair === "/*") blankTo(indexOr(text, "*/", at + 2, 2));
    else if (char === '"' || char === "'") {
      copy(1);
      blankTo(endOfQuoted(text, at, char));
      copy(1);
    } else if (char === "`") {
      copy(1);
      templateText();
    } else if (char === "/" && REGEX_AFTER.test(out.slice(-40))) {
      copy(1);
      blankTo(endOfRegex(text, at));
      copy(1);
    } else if (char === "{" && templates.length > 0) {
      templates[templates.length - 1]!++;
      copy(1);
    } else if (char === "}" && templates.at(-1) === 0) {
      templates.pop();
      copy(1);
      templateText();
    } else {
      if (char === "}" && templates.length > 0) templates[templates.length - 1]!--;
      copy(1);
    }
  }
  return out;
}

function indexOr(text: string, what: string, from: number, add = 0): number {
  const found = text.indexOf(what, from);
  return found < 0 ? text.length : found + add;
}

function endOfQuoted(text: string, from: number, quote: string): number {
  let at = from;
  while (at < text.length && text[at] !== quote && text[at] !== "\n")
    at += text[at] === "\\" ? 2 : 1;
  return Math.min(at, text.length);
}

function endOfTemplateText(text: string, from: number): number {
  let at = from;
  while (at < text.length && text[at] !== "`" && text.slice(at, at + 2) !== "${") {
    at += text[at] === "\\" ? 2 : 1;
  }
  return Math.min(at, text.length);
}

function endOfRegex(text: string, from: number): number {
  let at = from;
  let inClass = false;
  while (at < text.length && text[at] !== "\n" && (inClass || text[at] !== "/")) {
    if (text[at] === "[") inClass = true;
    if (text[at] === "]") inClass = false;
    at += text[at] === "\\" ? 2 : 1;
  }
  return Math.min(at, text.length);
}
