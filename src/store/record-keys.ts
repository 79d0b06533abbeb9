/**
 * Where the records of an object lie in the metadata store:
 *
 *     p2pstore/v1/objects/<name>/             one object record
 *     p2pstore/v1/sources/<name>/<segment>    one source record a store
 *
 * `<name>` is escaped like a JSON pointer (RFC 6901): `~` becomes `~0` and `/` becomes `~1`. So the closing `/` ends
 * the name, no object's keys are a prefix of another's, and because the escaping goes character by character the
 * escaped prefix of a name is a prefix of the escaped name: `list` needs one range request. It also keeps keys readable,
 * and grows a name to twice its bytes at most, where percent-encoding may triple them.
 */

const OBJECTS = 'p2pstore/v1/objects/';
const SOURCES = 'p2pstore/v1/sources/';

function escapeText(text: string): string {
  return text.replaceAll('~', '~0').replaceAll('/', '~1');
}

/** @returns undefined when no {@link escapeText} makes this text. */
function parseEscaped(text: string): string | undefined {
  if (text === '' || /\/|~(?![01])/.test(text)) return undefined;
  return text.replaceAll('~1', '/').replaceAll('~0', '~');
}

export function objectKey(name: string): string {
  return `${OBJECTS}${escapeText(name)}/`;
}

/** Of the object records of every name that starts with `namePrefix`. */
export function objectsPrefix(namePrefix: string): string {
  return OBJECTS + escapeText(namePrefix);
}

/** Of the source records of every name that starts with `namePrefix`. */
export function sourcesPrefix(namePrefix: string): string {
  return SOURCES + escapeText(namePrefix);
}

/** Of the source records of this name and no other. */
export function sourcesOfPrefix(name: string): string {
  return `${SOURCES}${escapeText(name)}/`;
}

export function sourceKey(name: string, segment: string): string {
  return sourcesOfPrefix(name) + escapeText(segment);
}

/** @returns The name of the object record's key; undefined for a key that is none. */
export function parseObjectKey(key: string): string | undefined {
  if (!key.startsWith(OBJECTS) || !key.endsWith('/')) return undefined;
  return parseEscaped(key.slice(OBJECTS.length, -1));
}

/** @returns Name and segment of the source record's key; undefined for a key that is none. */
export function parseSourceKey(key: string): { readonly name: string; readonly segment: string } | undefined {
  if (!key.startsWith(SOURCES)) return undefined;
  const parts = key.slice(SOURCES.length).split('/');
  const name = parseEscaped(parts[0] ?? '');
  const segment = parseEscaped(parts[1] ?? '');
  if (parts.length !== 2 || name === undefined || segment === undefined) return undefined;
  return { name, segment };
}
