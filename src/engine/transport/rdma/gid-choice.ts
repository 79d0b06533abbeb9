/** Which of a port's addresses to use. A port of an Ethernet card has one for each IP address and RoCE version. */

/** One entry of a port's table of GIDs. */
export interface GidEntry {
  readonly index: number;
  /** 16 bytes as Mooncake writes them: lower-case hexadecimal, with a colon between any two. */
  readonly gid: string;
  readonly type: 'RoCE v2' | 'RoCE v1' | 'InfiniBand';
  /** Network interface that the address belongs to, where there is one. */
  readonly interface: string | undefined;
}

const GID_TEXT = /^(?:[0-9a-f]{2}:){15}[0-9a-f]{2}$/i;
const IPV4_MAPPED = /^(?:00:){10}ff:ff:/;
const LINK_LOCAL = /^fe:[89ab]/;
const ZERO = /^[0:]*$/;

/** From sysfs' form, eight groups of four digits, to ours. */
export function gidFromGroups(text: string): string {
  return (text.replaceAll(':', '').match(/../g) ?? []).join(':').toLowerCase();
}

/** @returns 16 bytes; undefined when the text is no GID. */
export function gidBytes(text: string): Uint8Array | undefined {
  if (!GID_TEXT.test(text)) return undefined;
  return Uint8Array.from(text.split(':'), (byte) => Number.parseInt(byte, 16));
}

/**
 * The entry that reaches furthest: RoCE v2 by IPv4, by routable IPv6, by a link's own address, then RoCE v1, which no
 * router forwards. A port of InfiniBand uses its first.
 */
export function chooseGid(entries: readonly GidEntry[]): GidEntry | undefined {
  return entries
    .filter(({ gid }) => !ZERO.test(gid))
    .toSorted((a, b) => distanceOf(a) - distanceOf(b) || a.index - b.index)[0];
}

function distanceOf({ gid, type }: GidEntry): number {
  if (type === 'InfiniBand') return 0;
  const scope = IPV4_MAPPED.test(gid) ? 0 : LINK_LOCAL.test(gid) ? 2 : 1;
  return scope + (type === 'RoCE v1' ? 3 : 0);
}
