/** What the status of a completion means for the request, its path and its peer. */

export const WC_SUCCESS = 0;
/** It was on a queue pair that ended; whether it was carried out is not known. */
export const WC_FLUSHED = 5;

export type CompletionMeaning =
  /** All bytes have moved. */
  | 'done'
  /** Another request ended the queue pair. */
  | 'collateral'
  /** The peer does not let that key reach that memory, or does not know it any more. */
  | 'refused'
  /** No answer: the cable, the peer's card or the peer is gone. */
  | 'way-lost'
  /** The own card or memory. */
  | 'local-fault';

const MEANINGS: ReadonlyMap<number, CompletionMeaning> = new Map([
  [WC_SUCCESS, 'done'],
  [1, 'local-fault'], // local length error
  [2, 'local-fault'], // local queue pair operation error
  [4, 'local-fault'], // local protection error
  [WC_FLUSHED, 'collateral'],
  [9, 'refused'], // remote invalid request
  [10, 'refused'], // remote access error
  [11, 'way-lost'], // remote operation error
  [12, 'way-lost'], // transport retry counter exceeded
  [13, 'way-lost'], // receiver-not-ready retry counter exceeded
]);

export function meaningOf(status: number): CompletionMeaning {
  return MEANINGS.get(status) ?? 'way-lost';
}
