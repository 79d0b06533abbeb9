/** The address space of one store instance, as another one sees it. */
export interface Segment {
  /** Its name in the cluster: the `localSegmentName` of its store. */
  readonly name: string;
  /** Where its data port answers: a host name or address without brackets. */
  readonly host: string;
  readonly port: number;
  /** Framing that its data port speaks: 1, or 2 with acknowledged statuses. */
  readonly protocolVersion: 1 | 2;
  /** Registered buffers, when the descriptor lists them. */
  readonly buffers: readonly { readonly address: number; readonly lengthBytes: number; readonly location: string }[];
}
