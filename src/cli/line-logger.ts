import type { LogFields, Logger } from '../observability/logger.ts';

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Values that JSON has no word for, and errors without their stack unless the log is for debugging. */
function plain(value: unknown, isVerbose: boolean): unknown {
  if (typeof value === 'bigint') return value.toString();
  if (value instanceof Error) {
    const code = 'code' in value && typeof value.code === 'string' ? { code: value.code } : {};
    return { message: value.message, ...code, ...(isVerbose ? { stack: value.stack } : {}) };
  }
  return value;
}

/**
 * Writes one line a message, `time level message {"field":...}`, of `level` and above.
 *
 * @param write - Takes a line without its end.
 */
export function createLineLogger(level: LogLevel, write: (line: string) => void): Logger {
  const isVerbose = level === 'debug';
  const at =
    (own: LogLevel) =>
    (fields: LogFields, message: string): void => {
      if (LOG_LEVELS.indexOf(own) < LOG_LEVELS.indexOf(level)) return;
      const facts = JSON.stringify(fields, (_key, value) => plain(value, isVerbose));
      write(`${new Date().toISOString()} ${own} ${message} ${facts}`);
    };
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}
