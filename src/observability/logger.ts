/** Facts of one log line. The message is a constant phrase, so that lines can be counted. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Where the library writes what it does. Shaped so that a pino logger fits as it is. */
export interface Logger {
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
}

const ignore = (): void => {};

/** The default: a library that was not asked to speak is silent. */
export const silentLogger: Logger = { debug: ignore, info: ignore, warn: ignore, error: ignore };
