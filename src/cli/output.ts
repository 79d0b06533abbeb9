/**
 * What a command says: JSON events for programs, lines and a progress line for people. Standard output carries the
 * answer, standard error carries errors and the log.
 */
import { type Clock, systemClock } from '../core/clock.ts';
import { formatBytes, formatRate, formatSeconds } from './quantities.ts';

/** How far a pull has come. */
export interface Progress {
  readonly name: string;
  readonly bytes: number;
  readonly totalBytes: number;
  readonly seconds: number;
  readonly bytesPerSecond: number;
  /** Stores that the bytes come from. */
  readonly sources: number;
  /** Set when they come from Mooncake's stores: nothing vouches for them. */
  readonly origin?: 'mooncake';
}

/** One line of `--json`; facts that an event does not have are absent. */
export interface OutputEvent {
  readonly event:
    | 'registered'
    | 'serving'
    | 'metrics'
    | 'waiting'
    | 'progress'
    | 'complete'
    | 'object'
    | 'source'
    | 'status'
    | 'topology'
    | 'error';
  readonly name?: string;
  readonly bytes?: number;
  readonly seconds?: number;
  readonly bytesPerSecond?: number;
  readonly sources?: number;
  readonly [fact: string]: unknown;
}

/** The part of a stream that is used; a test passes its own. */
export interface TextSink {
  write(text: string): unknown;
  on?(event: 'error', listener: (error: Error) => void): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
}

export interface OutputOptions {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly stdout: TextSink;
  readonly stderr: TextSink;
  readonly clock?: Clock;
}

/** Redraws of the progress line: 5 a second are smooth enough. */
const REDRAW_MS = 200;
/** Progress events, which a program stores or adds up. */
const PROGRESS_EVENT_MS = 500;
/** Progress as whole lines goes to a log file, where few are wanted. */
const PLAIN_PROGRESS_MS = 5_000;
/** For a terminal that does not know its width, or says 0. */
const COLUMNS_DEFAULT = 80;
const ROWS_DEFAULT = 24;

export class Output {
  readonly #json: boolean;
  readonly #quiet: boolean;
  readonly #stdout: TextSink;
  readonly #stderr: TextSink;
  readonly #clock: Clock;
  #nextProgressMs: number;
  #isLineDrawn = false;
  /** Lines of the block that the next one replaces; the cursor is below them. */
  #blockLines = 0;

  constructor(options: OutputOptions) {
    this.#json = options.json;
    this.#quiet = options.quiet;
    this.#stdout = options.stdout;
    this.#stderr = options.stderr;
    this.#clock = options.clock ?? systemClock;
    this.#nextProgressMs = this.#clock.nowMs() + (this.#isPlain ? PLAIN_PROGRESS_MS : 0);
    // A reader that went away (`p2pstore list | head -1`) is no failure of ours: the rest is said to nobody.
    for (const stream of [this.#stdout, this.#stderr]) stream.on?.('error', () => {});
  }

  get isJson(): boolean {
    return this.#json;
  }

  get #isPlain(): boolean {
    return !this.#json && this.#stdout.isTTY !== true;
  }

  get #progressMs(): number {
    if (this.#json) return PROGRESS_EVENT_MS;
    return this.#isPlain ? PLAIN_PROGRESS_MS : REDRAW_MS;
  }

  /** Says something to a program; people get `text`, if there is one. */
  event(event: OutputEvent, text?: string): void {
    if (this.#quiet) return;
    if (this.#json) this.#writeEvent(event);
    else if (text !== undefined) this.line(text);
  }

  /** Says something to people only. */
  line(text: string): void {
    if (this.#quiet || this.#json) return;
    this.#clearLine();
    this.#stdout.write(`${text}\n`);
  }

  /** Columns as wide as their widest cell; numbers, and cells that start like one, go to the right. */
  table(header: readonly string[], rows: readonly (readonly string[])[]): void {
    for (const line of formatTable(header, rows)) this.line(line);
  }

  /**
   * Shows what is watched, once more: to programs an event, on a terminal in the place of the block before, elsewhere below
   * it. A block that is longer than the terminal is cut.
   */
  block(event: OutputEvent, lines: readonly string[]): void {
    if (this.#quiet) return;
    if (this.#json) this.#writeEvent(event);
    else if (this.#isPlain) this.#stdout.write(`${lines.join('\n')}\n\n`);
    else this.#drawBlock(lines);
  }

  /** Shows how far a pull has come, as often as is useful and no more. */
  progress(progress: Progress): void {
    if (this.#quiet) return;
    const nowMs = this.#clock.nowMs();
    if (nowMs < this.#nextProgressMs) return;
    this.#nextProgressMs = nowMs + this.#progressMs;
    if (this.#json) this.#writeEvent({ event: 'progress', ...progress });
    else if (this.#isPlain) this.#stdout.write(`${formatProgress(progress)}\n`);
    else this.#drawLine(formatProgress(progress));
  }

  /** Errors are said whatever was asked: to people on standard error, and to programs as an event too. */
  error(failure: {
    readonly message: string;
    readonly code: string;
    readonly name?: string | undefined;
    readonly hint?: string | undefined;
    readonly stack?: string | undefined;
  }): void {
    this.#clearLine();
    const { message, code, name, hint, stack } = failure;
    if (this.#json) {
      this.#writeEvent({ event: 'error', ...(name === undefined ? {} : { name }), code, message });
    }
    this.#stderr.write(`p2pstore: ${printable(message)} (${code})\n`);
    if (hint !== undefined) this.#stderr.write(`hint: ${printable(hint)}\n`);
    if (stack !== undefined) this.#stderr.write(`${stack}\n`);
  }

  /** One line of the log. */
  log(line: string): void {
    this.#clearLine();
    this.#stderr.write(`${line}\n`);
  }

  #writeEvent(event: OutputEvent): void {
    const { seconds, bytesPerSecond } = event;
    const rounded = {
      ...event,
      ...(seconds === undefined ? {} : { seconds: Math.round(seconds * 1000) / 1000 }),
      ...(bytesPerSecond === undefined ? {} : { bytesPerSecond: Math.round(bytesPerSecond) }),
    };
    this.#stdout.write(`${JSON.stringify(rounded)}\n`);
  }

  #drawLine(text: string): void {
    // A full line would wrap, and the next redraw would not reach its first half.
    const columns = (this.#stdout.columns || COLUMNS_DEFAULT) - 1;
    this.#stdout.write(`\r\x1b[2K${text.slice(0, columns)}`);
    this.#isLineDrawn = true;
  }

  #drawBlock(lines: readonly string[]): void {
    const rows = (this.#stdout.rows || ROWS_DEFAULT) - 1; // the cursor stands on the last one
    const shown =
      lines.length <= rows ? lines : [...lines.slice(0, rows - 1), `... ${lines.length - rows + 1} lines more`];
    // Lines that wrapped would make the block higher than it is known to be: the terminal must not wrap them.
    const up = this.#blockLines === 0 ? '' : `\x1b[${this.#blockLines}A`;
    this.#stdout.write(`\x1b[?7l\r${up}\x1b[J${shown.join('\n')}\n\x1b[?7h`);
    this.#blockLines = shown.length;
  }

  #clearLine(): void {
    this.#blockLines = 0; // what is written now stays, and the next block goes below it
    if (!this.#isLineDrawn) return;
    this.#stdout.write('\r\x1b[2K');
    this.#isLineDrawn = false;
  }
}

/** `512 MiB of 1 GiB  50%  1.2 GiB/s  0.42 s left  3 sources  name`. */
export function formatProgress(progress: Progress): string {
  const { bytes, totalBytes, bytesPerSecond, sources, name, origin } = progress;
  const percent = totalBytes === 0 ? 100 : Math.floor((bytes / totalBytes) * 100);
  const left = bytesPerSecond > 0 ? `${formatSeconds((totalBytes - bytes) / bytesPerSecond)} left` : 'waiting';
  return [
    `${formatBytes(bytes)} of ${formatBytes(totalBytes)}`,
    `${percent}%`,
    formatRate(bytesPerSecond),
    left,
    `${sources} ${sources === 1 ? 'source' : 'sources'}`,
    printable(name),
    ...(origin === undefined ? [] : ['unverified']),
  ].join('  ');
}

export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const shown = rows.map((row) => row.map(printable));
  const widths = header.map((title, column) =>
    Math.max(title.length, ...shown.map((row) => (row[column] ?? '').length)),
  );
  const isNumeric = header.map((_title, column) => shown.every((row) => /^\d/.test(row[column] ?? '')));
  return [header, ...shown].map((row) =>
    row
      .map((cell, column) => {
        const width = widths[column] ?? 0;
        return isNumeric[column] === true && column > 0 ? cell.padStart(width) : cell.padEnd(width);
      })
      .join('  ')
      .trimEnd(),
  );
}

/** Names come from other machines: what would steer the terminal is shown as its code. */
export function printable(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Cf}\u2028\u2029]/gu,
    (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  );
}

/** A word of a shell command line: quoted when it has to be. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
