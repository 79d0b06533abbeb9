/**
 * JSON as Go's `encoding/json` reads and writes it where JavaScript differs: integers of 64 bits keep all their digits, and text
 * is escaped so that it may stand in HTML.
 */
import { randomBytes } from 'node:crypto';

const INTEGER = /^-?\d+$/;
/** More digits than any u64 has, and than BigInt should be made to read. */
const INTEGER_DIGITS_MAX = 20;
const NUMBER = /-?\d[-+.\deE]*/g;

/** Marks integer literals, which lie outside strings, so that `JSON.parse` hands them over digit by digit. */
function markIntegers(text: string, mark: string): string {
  const markOne = (literal: string): string =>
    INTEGER.test(literal) && literal.length <= INTEGER_DIGITS_MAX ? `"${mark}${literal}"` : literal;
  const parts: string[] = [];
  for (let at = 0; at < text.length; ) {
    const quote = text.indexOf('"', at);
    parts.push(text.slice(at, quote === -1 ? undefined : quote).replace(NUMBER, markOne));
    if (quote === -1) break;
    at = endOfString(text, quote);
    parts.push(text.slice(quote, at));
  }
  return parts.join('');
}

/** @returns The index behind the string that begins at `quote`. */
function endOfString(text: string, quote: number): number {
  for (let at = quote + 1; ; at++) {
    const end = text.indexOf('"', at);
    if (end === -1) return text.length;
    let backslashes = 0;
    while (text[end - 1 - backslashes] === '\\') backslashes++;
    if (backslashes % 2 === 0) return end + 1;
    at = end;
  }
}

/**
 * Reads JSON with every integer literal as a `bigint`; other numbers, and integers of more than 20 characters, stay what
 * `JSON.parse` makes of them.
 *
 * @throws SyntaxError
 */
export function parseExactJson(text: string): unknown {
  JSON.parse(text); // refuses what marking could turn into JSON
  const mark = `${randomBytes(12).toString('hex')}:`;
  return JSON.parse(markIntegers(text, mark), (_key, value: unknown) =>
    typeof value === 'string' && value.startsWith(mark) ? BigInt(value.slice(mark.length)) : value,
  );
}

/** Writes a string as Go does: `<`, `>`, `&` and the line separators escaped. */
export function goString(text: string): string {
  return JSON.stringify(text).replace(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
