/**
 * Where the records of an object lie in the metadata store:
 *
 *     p2pstore/v1/objects/<name>/                     one object record
 *     p2pstore/v1/sources/<name>/<place>/<segment>    one source record a store
 *     p2pstore/v1/waiting/<name>/<place>/<segment>    one record of each store that waits for the object
 *
 * `<place>` is `-` for a gold source; for others it is {@link ARC_DIGITS} binary digits, a hash of the segment's name. So gold
 * sources can be listed by themselves, and a range of keys holds a part of the stores that is as large as wanted and as
 * good as chosen by chance.
 *
 * `<name>` is escaped like a JSON pointer (RFC 6901): `~` becomes `~0` and `/` becomes `~1`. So the closing `/` ends
 * the name, no object's keys are a prefix of another's, and because the escaping goes character by character the
 * escaped prefix of a name is a prefix of the escaped name: `list` needs one range request. It also keeps keys readable,
 * and grows a name to twice its bytes at most, where percent-encoding may triple them.
 */
import { createHash } from 'node:crypto';

/** Binary digits of a place: enough to cut 130,000 stores into parts of 128. */
export const ARC_DIGITS = 10;

const GOLD_PLACE = '-';
const PLACE = new RegExp(`^(?:${GOLD_PLACE}|[01]{${ARC_DIGITS}})$`);
const OBJECTS = 'p2pstore/v1/objects/';
const SOURCES = 'p2pstore/v1/sources/';
const WAITING = 'p2pstore/v1/waiting/';

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

/** Records of the stores that have to do with one object, by their places on a ring. */
export interface RingKeys {
  /** Prefix of all of them. */
  readonly all: string;
  /** Prefixes of those that are always wanted, and have no place on the ring. */
  readonly apart: readonly string[];
  /** Prefix of those whose places start with these binary digits; at least one. */
  arc(digits: string): string;
  /** In binary digits; undefined for a key that has none. */
  placeOf(key: string): string | undefined;
}

/** Of the replica source records of this name; gold sources stand apart. */
export function sourceRing(name: string): RingKeys {
  const all = sourcesOfPrefix(name);
  return {
    all,
    apart: [`${all}${GOLD_PLACE}/`],
    arc: (digits) => all + digits,
    placeOf: (key) => {
      const parsed = parseSourceKey(key);
      return parsed?.role === 'replica' ? parsed.place : undefined;
    },
  };
}

/** Of the stores that wait for this name. */
export function waitingRing(name: string): RingKeys {
  const all = `${WAITING}${escapeText(name)}/`;
  return { all, apart: [], arc: (digits) => all + digits, placeOf: (key) => parseWaitingKey(key)?.place };
}

export function waitingKey(name: string, segment: string): string {
  return `${WAITING}${escapeText(name)}/${placeOf(segment)}/${escapeText(segment)}`;
}

/** @returns What the key of a waiting store says; undefined for a key that is none. */
export function parseWaitingKey(key: string): { readonly segment: string; readonly place: string } | undefined {
  const parsed = parseStoreKey(WAITING, key);
  return parsed === undefined || parsed.place === GOLD_PLACE ? undefined : parsed;
}

export function sourceKey(name: string, segment: string, role: 'gold' | 'replica'): string {
  const place = role === 'gold' ? GOLD_PLACE : placeOf(segment);
  return `${sourcesOfPrefix(name)}${place}/${escapeText(segment)}`;
}

function placeOf(segment: string): string {
  const bits = createHash('sha256').update(segment).digest().readUInt32BE(0) >>> (32 - ARC_DIGITS);
  return bits.toString(2).padStart(ARC_DIGITS, '0');
}

/** @returns The name of the object record's key; undefined for a key that is none. */
export function parseObjectKey(key: string): string | undefined {
  if (!key.startsWith(OBJECTS) || !key.endsWith('/')) return undefined;
  return parseEscaped(key.slice(OBJECTS.length, -1));
}

export interface SourceKey {
  readonly name: string;
  readonly segment: string;
  readonly role: 'gold' | 'replica';
  /** Of a replica, in binary digits. */
  readonly place: string;
}

/** @returns What the key of a source record says; undefined for a key that is none. */
export function parseSourceKey(key: string): SourceKey | undefined {
  const parsed = parseStoreKey(SOURCES, key);
  return parsed && { ...parsed, role: parsed.place === GOLD_PLACE ? 'gold' : 'replica' };
}

function parseStoreKey(prefix: string, key: string): Omit<SourceKey, 'role'> | undefined {
  if (!key.startsWith(prefix)) return undefined;
  const [escapedName = '', place = '', escapedSegment = '', ...rest] = key.slice(prefix.length).split('/');
  const name = parseEscaped(escapedName);
  const segment = parseEscaped(escapedSegment);
  if (name === undefined || segment === undefined || !PLACE.test(place) || rest.length > 0) return undefined;
  return { name, segment, place };
}
