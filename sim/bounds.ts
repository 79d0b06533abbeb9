/** The least time that any way of distributing could take. */

/** Full-duplex access of one node to a network that is never the bottleneck itself, in bytes per millisecond. */
export interface Link {
  readonly up: number;
  readonly down: number;
}

/**
 * The bound for equal links, in piece times: the last piece leaves the source after M of them, and the number of its
 * owners can at best double in each further one. Mundinger, Weber and Weiss, "Optimal scheduling of peer-to-peer file
 * dissemination", Journal of Scheduling 11 (2008).
 */
export function equalLinksBoundPieces(pieces: number, receivers: number): number {
  return pieces + Math.floor(Math.log2(receivers));
}

/**
 * The bound for any links, in milliseconds, for bytes as fine as water: the source's uplink sends everything once, the
 * slowest downlink takes everything once, and all uplinks together send it as often as there are receivers. Kumar and
 * Ross, "Peer-assisted file distribution: the minimum distribution time" (2006).
 */
export function fluidBoundMs(totalBytes: number, source: Link, receivers: readonly Link[]): number {
  const slowestDown = receivers.reduce((least, { down }) => Math.min(least, down), Number.POSITIVE_INFINITY);
  const uplinks = receivers.reduce((sum, { up }) => sum + up, source.up);
  return Math.max(totalBytes / source.up, totalBytes / slowestDown, (receivers.length * totalBytes) / uplinks);
}
